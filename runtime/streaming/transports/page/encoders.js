// A video's present picture to bytes: H.264 by WebCodecs, or JPEG in a worker.

import { ENCODING } from "./protocol.js";

// Constrained baseline: no B-frames, so that units come in display order. Level 3.1 holds 1280 x 720.
const CODEC = "avc1.42e01f";
const KEY_EVERY = 10_000_000;

/** The size to send: the longer side at most `side`, both even, as H.264 wants them. */
export function fit(width, height, side) {
  const scale = Math.min(1, side / Math.max(width, height));
  const even = (value) => Math.max(2, Math.round((value * scale) / 2) * 2);
  return { width: even(width), height: even(height) };
}

function configuration({ width, height, bits, rate }) {
  return { codec: CODEC, width, height, bitrate: bits, framerate: rate, latencyMode: "realtime",
    hardwareAcceleration: "no-preference", avc: { format: "annexb" } };
}

/** Whether this browser encodes H.264. */
export async function hasH264() {
  if (!("VideoEncoder" in globalThis)) return false;
  try {
    const { supported } = await VideoEncoder.isConfigSupported(
      configuration({ width: 640, height: 480, bits: 1_000_000, rate: 30 }));
    return supported === true;
  } catch {
    return false;
  }
}

/** `on.frame({captured, payload, encoding})`, `on.dropped(count)`, `on.broken(error)`. */
export class H264Encoder {
  name = "H.264";
  #on; #encoder = null; #settings = ""; #pending = new Set(); #key = true; #lastKey = 0;
  #canvas = document.createElement("canvas");

  constructor(on) { this.#on = on; }

  get busy() { return this.#pending.size >= 2; }

  /** The next unit must be readable without those before it: the server has a new decoder. */
  restart() { this.#key = true; }

  encode(video, captured, level) {
    const size = fit(video.videoWidth, video.videoHeight, level.side);
    this.#configure({ ...size, bits: level.bits, rate: level.rate });
    const frame = this.#frame(video, captured, size);
    const keyFrame = this.#key || captured - this.#lastKey > KEY_EVERY;
    if (keyFrame) { this.#key = false; this.#lastKey = captured; }
    this.#pending.add(captured);
    this.#encoder.encode(frame, { keyFrame });
    frame.close();
  }

  /** The video's present picture in that size. */
  #frame(video, captured, { width, height }) {
    // As it is, where it can be: a canvas turns every picture into RGB and the encoder turns it back.
    const whole = new VideoFrame(video, { timestamp: captured });
    const { visibleRect, displayWidth, displayHeight, rotation = 0, flip = false } = whole;
    if (visibleRect.width === width && visibleRect.height === height && displayWidth === width
      && displayHeight === height && rotation === 0 && !flip) return whole;
    whole.close();
    const canvas = this.#canvas;
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    canvas.getContext("2d", { alpha: false, desynchronized: true })
      .drawImage(video, 0, 0, width, height);
    return new VideoFrame(canvas, { timestamp: captured, alpha: "discard" });
  }

  close() {
    if (this.#encoder?.state !== "closed") this.#encoder?.close();
    this.#pending.clear();
  }

  #configure(settings) {
    const wanted = JSON.stringify(settings);
    if (wanted === this.#settings) return;
    if (this.#encoder === null) {
      this.#encoder = new VideoEncoder({ output: (chunk) => this.#output(chunk),
        error: (error) => this.#on.broken(error) });
    }
    this.#encoder.configure(configuration(settings));
    this.#settings = wanted;
    this.#key = true;
  }

  #output(chunk) {
    // An encoder may leave frames out without a word: those before this one will not come any more.
    let dropped = 0;
    for (const captured of this.#pending) {
      if (captured > chunk.timestamp) continue;
      this.#pending.delete(captured);
      if (captured < chunk.timestamp) dropped += 1;
    }
    if (dropped) this.#on.dropped(dropped);
    const payload = new Uint8Array(chunk.byteLength);
    chunk.copyTo(payload);
    this.#on.frame({ captured: chunk.timestamp, payload, encoding: ENCODING.H264 });
  }
}

export class JpegEncoder {
  name = "JPEG";
  #on; #under = 0;
  #worker = new Worker(new URL("jpeg-worker.js", import.meta.url));

  constructor(on) {
    this.#on = on;
    this.#worker.onmessage = ({ data: { captured, payload } }) => {
      this.#under -= 1;
      on.frame({ captured, payload: new Uint8Array(payload), encoding: ENCODING.JPEG });
    };
    this.#worker.onerror = (event) => { this.#under = 0; on.broken(event); };
  }

  get busy() { return this.#under >= 2; }

  restart() { /* Every JPEG can be read without those before it. */ }

  async encode(video, captured, { side, quality }) {
    this.#under += 1;
    try {
      const picture = await createImageBitmap(video);
      const size = fit(picture.width, picture.height, side);
      this.#worker.postMessage({ captured, picture, ...size, quality }, [picture]);
    } catch {
      this.#under -= 1;
      this.#on.dropped(1);
    }
  }

  close() { this.#worker.terminate(); }
}
