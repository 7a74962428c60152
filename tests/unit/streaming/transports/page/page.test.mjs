// The page's modules without a browser. The conversation is Python's: test_page_modules.py made it.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";

const page = (name) => import(new URL(name, process.env.PAGE));
const codec = await page("protocol.js");
const { Adaptation, framesInFlight, LEVELS } = await page("adapt.js");
const { pause, ServerClock } = await page("connection.js");
const { colour, placeLabels } = await page("draw.js");
const { median, Statistics } = await page("stats.js");
const { CONFIDENCE, decodeDarknet, IOU, letterbox, suppress, toSource } = await page("yolo.js");
const conversation = JSON.parse(readFileSync(new URL("conversation.json", import.meta.url)));
const bytes = (hex) => new Uint8Array(Buffer.from(hex, "hex"));
const hex = (data) => Buffer.from(data).toString("hex");

const MAKE = {
  hello: ({ options }) => codec.encodeHello(options),
  frame: ({ sequence, captured, payload, encoding }) =>
    codec.encodeFrame(sequence, captured, bytes(payload), encoding),
  ping: ({ sent }) => codec.encodePing(sent),
};

for (const { from, hex: recorded, meaning } of conversation) {
  test(`${from} ${meaning.kind} as recorded`, () => {
    if (from === "client") assert.equal(hex(MAKE[meaning.kind](meaning)), recorded);
    else assert.deepEqual(codec.decode(bytes(recorded)), meaning);
  });
}

test("an unknown message is refused", () => {
  assert.throws(() => codec.decode(new Uint8Array([0x7f])), /127/);
});

test("codes, encodings, flags and defaults are Python's", () => {
  const facts = JSON.parse(process.env.FACTS);
  for (const [code, again] of facts.codes) assert.equal(codec.retryable(code), again, code);
  assert.equal(codec.retryable(1006), true, "a cut");
  for (const [name, number] of Object.entries(codec.ENCODING)) assert.equal(facts.encodings[name], number);
  assert.deepEqual(codec.FLAG, facts.flags);
  assert.equal(codec.NEEDS_KEYFRAME, facts.needsKeyframe);
  assert.deepEqual([CONFIDENCE, IOU], facts.boxes);
});

test("labels never hide each other and never leave the picture", () => {
  let seed = 7;
  const random = () => { seed = (seed * 16807) % 2147483647; return seed / 2147483647; };
  const bounds = { width: 390, height: 292 };
  let shown = 0;
  for (let round = 0; round < 200; round += 1) {
    const boxes = Array.from({ length: 25 }, () => {
      const [x, y] = [random() * 380, random() * 280];
      return [x, y, Math.min(390, x + random() * 120), Math.min(292, y + random() * 120)];
    });
    const sizes = boxes.map(() => ({ width: 40 + random() * 60, height: 16 }));
    const places = placeLabels(boxes, sizes, bounds).filter((place) => place !== null);
    shown += places.length;
    places.forEach((one, index) => {
      assert.ok(one.x >= 0 && one.y >= 0 && one.x + one.width <= 390 && one.y + one.height <= 292);
      for (const other of places.slice(index + 1)) {
        assert.ok(one.x + one.width <= other.x || other.x + other.width <= one.x
          || one.y + one.height <= other.y || other.y + other.height <= one.y);
      }
    });
  }
  assert.ok(shown > 200 * 25 * 0.9, `only ${shown} labels found a place`);
});

test("a label stands above its box, and below it where the picture ends", () => {
  const size = [{ width: 60, height: 16 }];
  const bounds = { width: 400, height: 300 };
  assert.equal(placeLabels([[50, 100, 90, 200]], size, bounds)[0].y, 83);
  assert.equal(placeLabels([[50, 2, 90, 200]], size, bounds)[0].y, 201);
});

test("the dark letters of a label can be read on any colour", () => {
  // WCAG 2.2: relative luminance and contrast (1.4.3); hsl as CSS Color 4 converts it.
  const luminance = (rgb) => rgb
    .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, index) => sum + c * [0.2126, 0.7152, 0.0722][index], 0);
  const letters = luminance([0x0b, 0x0d, 0x12].map((c) => c / 255));
  for (let number = 0; number < 500; number += 1) {
    const [hue, saturation, light] = colour(number).match(/[\d.]+/g)
      .map((text, index) => Number(text) / (index ? 100 : 1));
    const channel = (n) => {
      const k = (n + hue / 30) % 12;
      return light - saturation * Math.min(light, 1 - light) * Math.max(-1, Math.min(k - 3, 9 - k, 1));
    };
    const contrast = (luminance([0, 8, 4].map(channel)) + 0.05) / (letters + 0.05);
    assert.ok(contrast > 4.5, `${colour(number)}: ${contrast}`);
  }
});

test("a slow link lowers what is sent, a good one raises it, a failed rise waits longer", () => {
  const adaptation = new Adaptation();
  const seconds = (count, link) => {
    for (let second = 0; second < count; second += 1) adaptation.tell({ link, backlog: false });
    return adaptation.level;
  };
  assert.equal(seconds(1, 900), 0);
  assert.equal(seconds(1, 900), 1);
  assert.match(adaptation.words, /Slow link/);
  assert.equal(seconds(6, 20), 0);
  assert.equal(adaptation.words, "");
  assert.equal(seconds(2, 900), 1);
  assert.equal(seconds(11, 20), 1);
  assert.equal(seconds(1, 20), 0);
  assert.equal(seconds(100, 900), LEVELS.length - 1);
});

test("frames that only wait in a queue are not sent, a long link holds more", () => {
  const window = 8;
  const busy = { queue: 90, inference: 60, total: 200, window };
  assert.equal(framesInFlight(4, { ...busy, link: 2 }), 3);
  assert.equal(framesInFlight(2, { ...busy, link: 2 }), 1);
  assert.equal(framesInFlight(2, { ...busy, link: 50 }), 2);
  assert.equal(framesInFlight(1, { queue: 0, inference: 60, total: 70, link: 2, window }), 1);
  assert.equal(framesInFlight(2, { queue: 1, inference: 10, total: 150, link: 130, window }), 3);
  assert.equal(framesInFlight(8, { queue: 1, inference: 10, total: 900, link: 130, window }), 8);
  assert.equal(framesInFlight(2, { queue: 1, inference: 10, total: 20, link: 2, window }), 2);
});

test("the server's clock is that of the shortest way", () => {
  const clock = new ServerClock();
  clock.add({ sent: 0, received: 1100, answered: 1110 }, 1010);
  clock.add({ sent: 2000, received: 3010, answered: 3020 }, 2030);
  assert.deepEqual(clock.best, { trip: 20, offset: 1000 });
});

test("pauses grow, are jittered and end growing", () => {
  assert.equal(pause(0, () => 1), 250);
  assert.equal(pause(3, () => 0.5), 1000);
  assert.equal(pause(30, () => 1), 8000);
});

test("figures are of the last two seconds, drops of the whole stream", () => {
  const statistics = new Statistics();
  const delays = { total: 30_000, encode: 1000, up: 2000, decode: 0, queue: 0, inference: 0, post: 0, down: 3000 };
  for (let frame = 0; frame < 90; frame += 1) statistics.result(frame * 33_333, delays, 1000);
  statistics.drop("encoder", 3);
  const summary = statistics.summary(90 * 33_333);
  assert.ok(Math.abs(summary.rate - 30) < 1);
  assert.equal(summary.total, 30);
  assert.equal(summary.link, 5);
  assert.equal(statistics.drops.encoder, 3);
  assert.equal(median([]), undefined);
});

test("YOLOv3's decoding is Python's", () => {
  const { heads, anchors, input, source, boxes } = JSON.parse(process.env.YOLO);
  const given = heads.map(({ data, dims }) => ({ data: Float32Array.from(data), dims }));
  const lies = letterbox(source.width, source.height, input);
  const found = toSource(suppress(decodeDarknet(given, anchors, input, 0.3), 0.45), lies);
  assert.equal(found.length, boxes.length);
  found.forEach(({ box, confidence, classId }, index) => {
    const wanted = boxes[index];
    assert.equal(classId, wanted.class_id);
    assert.ok(Math.abs(confidence - wanted.confidence) < 1e-5);
    box.forEach((value, at) => assert.ok(Math.abs(value - wanted.box[at]) < 0.01));
  });
});
