// Version 1 of the stream protocol as a browser speaks it; docs/protocol.md has the layouts.

export const ENCODING = { JPEG: 1, H264: 5 };
export const FLAG = { UNCHANGED: 1, PREDICTED: 2, TRACKED: 4 };
export const NEEDS_KEYFRAME = 6;
const KIND = { HELLO: 0x01, WELCOME: 0x02, FRAME: 0x10, RESULT: 0x11, DROPPED: 0x12,
  FRAME_FAILED: 0x13, MODEL: 0x14, PING: 0x20, PONG: 0x21, GOAWAY: 0x30, CLOSE: 0x31 };
const RESULT_HEADER = 52;
const DETECTION = 26;
// Handshake and idle timeouts, too many connections, slow reader, going away, internal error.
const RETRYABLE = new Set([4006, 4007, 4008, 4011, 4012, 4014]);

/** Whether the same client may try again after a connection ended with this code. */
export function retryable(code) {
  return code < 4000 || code > 4999 || RETRYABLE.has(code);
}

export function encodeHello(options) {
  const json = new TextEncoder().encode(JSON.stringify(options));
  const message = new Uint8Array(7 + json.length);
  message.set([KIND.HELLO, 0x56, 0x53, 0x54, 0x4b, 1, 1]);
  message.set(json, 7);
  return message;
}

/** One picture. `captured` is this client's clock in whole microseconds. */
export function encodeFrame(sequence, captured, payload, encoding = ENCODING.JPEG) {
  const message = new Uint8Array(24 + payload.length);
  const view = new DataView(message.buffer);
  view.setUint8(0, KIND.FRAME);
  view.setUint8(1, encoding);
  view.setBigUint64(8, BigInt(sequence));
  view.setBigUint64(16, BigInt(captured));
  message.set(payload, 24);
  return message;
}

export function encodePing(sent) {
  const message = new Uint8Array(9);
  const view = new DataView(message.buffer);
  view.setUint8(0, KIND.PING);
  view.setBigUint64(1, BigInt(sent));
  return message;
}

export function decode(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const text = (from) => new TextDecoder().decode(bytes.subarray(from));
  switch (view.getUint8(0)) {
    case KIND.WELCOME: return { kind: "welcome", ...JSON.parse(text(2)) };
    case KIND.RESULT: return decodeResult(view);
    case KIND.DROPPED: return decodeDropped(view);
    case KIND.FRAME_FAILED:
      return { kind: "failed", code: view.getUint8(1), sequence: number(view, 2), reason: text(10) };
    case KIND.MODEL:
      return { kind: "model", revision: view.getUint16(1), model: JSON.parse(text(3)) };
    case KIND.PONG:
      return { kind: "pong", sent: number(view, 1), received: number(view, 9),
        answered: number(view, 17) };
    case KIND.GOAWAY: return { kind: "goaway", deadline: view.getUint32(1), reason: text(5) };
    case KIND.CLOSE: return { kind: "close", code: view.getUint16(1), reason: text(3) };
    default: throw new Error(`no message begins with ${view.getUint8(0)}`);
  }
}

function decodeResult(view) {
  const count = view.getUint16(2);
  const detections = [];
  for (let index = 0; index < count; index += 1) {
    const at = RESULT_HEADER + index * DETECTION;
    const box = [0, 4, 8, 12].map((offset) => view.getFloat32(at + offset));
    detections.push({ box, confidence: view.getFloat32(at + 16), classId: view.getUint16(at + 20),
      track: view.getInt32(at + 22) });
  }
  return { kind: "result", flags: view.getUint8(1), width: view.getUint16(4),
    height: view.getUint16(6), sequence: number(view, 8), received: number(view, 16),
    sent: number(view, 24), decode: view.getUint32(32), queue: view.getUint32(36),
    inference: view.getUint32(40), post: view.getUint32(44), batch: view.getUint16(48),
    revision: view.getUint16(50), detections };
}

function decodeDropped(view) {
  const sequences = [];
  for (let index = 0; index < view.getUint16(2); index += 1) {
    sequences.push(number(view, 4 + 8 * index));
  }
  return { kind: "dropped", reason: view.getUint8(1), sequences };
}

function number(view, offset) {
  return Number(view.getBigUint64(offset));
}
