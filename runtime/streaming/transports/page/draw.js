// Boxes and labels over a picture. Labels never hide each other and never leave the picture.

const overlap = (one, other) => one.x < other.x + other.width && other.x < one.x + one.width
  && one.y < other.y + other.height && other.y < one.y + one.height;

const shared = (one, other) => Math.max(0, Math.min(one.x + one.width, other.x + other.width)
  - Math.max(one.x, other.x)) * Math.max(0, Math.min(one.y + one.height, other.y + other.height)
  - Math.max(one.y, other.y));

/**
 * Where each label goes: {x, y, width, height}, or null where no place is left. Earlier ones choose
 * first, the place near their box that hides least of all boxes. `boxes` are [x1, y1, x2, y2],
 * `sizes` {width, height}, `bounds` {width, height}; pixels.
 */
export function placeLabels(boxes, sizes, bounds) {
  const placed = [];
  const areas = boxes.map(([x1, y1, x2, y2]) => ({ x: x1, y: y1, width: x2 - x1, height: y2 - y1 }));
  return boxes.map(([x1, y1, x2, y2], index) => {
    const { width, height } = sizes[index];
    if (width > bounds.width || height > bounds.height) return null;
    const rows = [y1 - height - 1, y2 + 1, y1, y2 - height];
    const columns = [x1, x2 - width, x1 - width - 2, x2 + 2];
    for (let step = 1; step <= 6; step += 1) {
      rows.push(y1 - (step + 1) * (height + 1), y2 + 1 + step * (height + 1));
    }
    let best = null;
    let least = Infinity;
    rows.forEach((y, row) => columns.forEach((x, column) => {
      const place = { width, height, x: Math.max(0, Math.min(bounds.width - width, x)),
        y: Math.max(0, Math.min(bounds.height - height, y)) };
      if (placed.some((other) => overlap(place, other))) return;
      const hidden = areas.reduce((sum, area) => sum + shared(place, area), 0);
      const cost = hidden / (width * height) + row * 0.04 + column * 0.02;
      if (cost < least) [best, least] = [place, cost];
    }));
    if (best !== null) placed.push(best);
    return best;
  });
}

/** Bright enough for dark letters, so lighter around blue. */
export function colour(number) {
  const hue = (number * 137.508 + 150) % 360;
  const light = 62 + 14 * Math.max(0, Math.cos((hue - 245) * Math.PI / 180));
  return `hsl(${hue.toFixed(1)} 95% ${light.toFixed(1)}%)`;
}

/** Draw an answer on the canvas, which lies over the picture; returns the boxes in its pixels. */
export function draw(canvas, answer, labels) {
  const density = globalThis.devicePixelRatio || 1;
  const bounds = { width: canvas.clientWidth, height: canvas.clientHeight };
  const [width, height] = [bounds.width * density, bounds.height * density].map(Math.round);
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  const pen = canvas.getContext("2d");
  pen.setTransform(density, 0, 0, density, 0, 0);
  pen.clearRect(0, 0, bounds.width, bounds.height);
  return paint(pen, answer, labels, bounds);
}

/** The same with any pen, for a snapshot too. */
export function paint(pen, answer, labels, bounds) {
  const scale = [bounds.width / answer.width, bounds.height / answer.height];
  const size = Math.max(11, Math.min(28, bounds.width / 52));
  pen.font = `600 ${size}px system-ui, sans-serif`;
  pen.textBaseline = "middle";
  pen.lineJoin = "round";
  const found = answer.detections.map(({ box, confidence, classId, track }) => ({
    box: box.map((value, index) => value * scale[index % 2]), confidence,
    text: `${labels[classId] ?? classId}${track < 0 ? "" : ` #${track}`} ${Math.round(confidence * 100)}%`,
    colour: colour(track < 0 ? classId : track) }));
  const sizes = found.map(({ text }) => ({ width: Math.ceil(pen.measureText(text).width) + size * 0.7,
    height: Math.ceil(size * 1.4) }));
  const places = placeLabels(found.map(({ box }) => box), sizes, bounds);
  for (const { box: [x1, y1, x2, y2], colour: ink } of found) {
    for (const [style, line] of [["rgb(0 0 0 / 55%)", size / 3.2], [ink, size / 6]]) {
      pen.strokeStyle = style;
      pen.lineWidth = line;
      pen.strokeRect(x1, y1, x2 - x1, y2 - y1);
    }
  }
  found.forEach(({ text, colour: ink }, index) => {
    const place = places[index];
    if (place === null) return;
    pen.fillStyle = ink;
    pen.beginPath();
    pen.roundRect(place.x, place.y, place.width, place.height, size / 5);
    pen.fill();
    pen.fillStyle = "#0b0d12";
    pen.fillText(text, place.x + size * 0.35, place.y + place.height / 2);
  });
  return found.map(({ box }) => box);
}
