// A detector's picture in and boxes out, as runtime/inference/{letterbox,boxes}.py do it.

/** What is left out and what goes, where nobody asks for another: runtime/contract.py. */
export const CONFIDENCE = 0.3;
export const IOU = 0.45;

/** Where a picture of width x height lies in the network's input; all pixels. */
export function letterbox(width, height, input) {
  const scale = Math.min(input.width / width, input.height / height);
  const inner = { width: Math.max(1, Math.round(width * scale)), height: Math.max(1, Math.round(height * scale)) };
  return { scale, ...inner, left: Math.round((input.width - inner.width) / 2 - 0.1),
    top: Math.round((input.height - inner.height) / 2 - 0.1), source: { width, height } };
}

/** The network's input, uint8 (height, width, 3) with blue first, from RGBA of the same size. */
export function blueFirst(rgba) {
  const pixels = new Uint8Array((rgba.length / 4) * 3);
  for (let from = 0, to = 0; from < rgba.length; from += 4, to += 3) {
    pixels[to] = rgba[from + 2];
    pixels[to + 1] = rgba[from + 1];
    pixels[to + 2] = rgba[from];
  }
  return pixels;
}

const sigmoid = (value) => 1 / (1 + Math.exp(-value));

/**
 * Candidates of YOLOv3's heads, {data, dims: [1, channels, rows, columns]} of logits, as boxes in
 * pixels of the input. Formulas: YOLOv3 (Redmon and Farhadi 2018), section 2.1.
 */
export function decodeDarknet(heads, anchors, input, confidence) {
  const found = [];
  const threshold = Math.log(confidence / (1 - confidence));
  heads.forEach(({ data, dims: [, channels, rows, columns] }, head) => {
    const cells = rows * columns;
    const fields = channels / anchors[head].length;
    anchors[head].forEach(([anchorWidth, anchorHeight], anchor) => {
      for (let cell = 0; cell < cells; cell += 1) {
        const at = (field) => data[(anchor * fields + field) * cells + cell];
        if (at(4) <= threshold) continue;
        let best = 5;
        for (let field = 6; field < fields; field += 1) if (at(field) > at(best)) best = field;
        const score = sigmoid(at(4)) * sigmoid(at(best));
        if (score <= confidence) continue;
        const x = (sigmoid(at(0)) + (cell % columns)) * (input.width / columns);
        const y = (sigmoid(at(1)) + Math.floor(cell / columns)) * (input.height / rows);
        const halfWidth = (Math.exp(at(2)) * anchorWidth) / 2;
        const halfHeight = (Math.exp(at(3)) * anchorHeight) / 2;
        found.push({ box: [x - halfWidth, y - halfHeight, x + halfWidth, y + halfHeight],
          confidence: score, classId: best - 5, track: -1 });
      }
    });
  });
  return found;
}

export function iou([a1, b1, a2, b2], [c1, d1, c2, d2]) {
  const shared = Math.max(0, Math.min(a2, c2) - Math.max(a1, c1))
    * Math.max(0, Math.min(b2, d2) - Math.max(b1, d1));
  const union = (a2 - a1) * (b2 - b1) + (c2 - c1) * (d2 - d1) - shared;
  return union > 0 ? shared / union : 0;
}

/** Greedy non-maximum suppression within each class, best first. */
export function suppress(found, overlap) {
  const kept = [];
  for (const one of [...found].sort((first, second) => second.confidence - first.confidence)) {
    if (!kept.some((better) => better.classId === one.classId && iou(better.box, one.box) > overlap)) {
      kept.push(one);
    }
  }
  return kept;
}

/** Boxes in pixels of the input to pixels of the source, kept inside it. */
export function toSource(found, { scale, left, top, source }) {
  const moved = (value, shift, limit) => Math.min(limit, Math.max(0, (value - shift) / scale));
  return found.map((one) => ({ ...one, box: one.box.map((value, index) => (index % 2
    ? moved(value, top, source.height) : moved(value, left, source.width))) }));
}
