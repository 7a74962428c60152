// One stream: connects, keeps the credits and the clocks, and connects again when it is cut off.

import { decode, encodeFrame, encodeHello, encodePing, retryable } from "./protocol.js";

const FIRST_PAUSE = 250;
const LONGEST_PAUSE = 8000;
const PING_EVERY = 1000;
const SAMPLES = 8;
const SILENCE = 6000;

/** This page's clock, whole microseconds. */
export function clock() {
  return Math.round(performance.now() * 1000);
}

/** Milliseconds before attempt `attempt` (from 0): exponential, with full jitter. */
export function pause(attempt, random = Math.random) {
  return random() * Math.min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** attempt);
}

/** How far the server's clock is ahead, from the ping with the shortest way (RFC 5905). */
export class ServerClock {
  #samples = [];

  add({ sent, received, answered }, now) {
    const trip = (now - sent) - (answered - received);
    this.#samples.push({ trip, offset: ((received - sent) + (answered - now)) / 2 });
    if (this.#samples.length > SAMPLES) this.#samples.shift();
  }

  get best() {
    return this.#samples.reduce((one, other) => (other.trip < one.trip ? other : one),
      this.#samples[0]);
  }
}

/**
 * `on` holds the callbacks: state(name, words), welcome(offer), model(message),
 * result(message, frame, delays), dropped(cause, count), failed(message).
 */
export class Connection {
  #address; #options; #on;
  #socket = null;
  #offer = null;
  #unanswered = new Map();
  #next = 0;
  #number = 0;
  #attempt = 0;
  #session = "";
  #timers = [];
  #clock = new ServerClock();
  #goodbye = null;
  #heard = 0;
  #ended = false;
  #leaving = false;

  constructor(address, options, on) {
    this.#address = address;
    this.#options = options;
    this.#on = on;
    this.#connect();
  }

  get waiting() { return this.#unanswered.size; }
  get backlog() { return this.#socket?.bufferedAmount ?? 0; }
  get roundTrip() { return (this.#clock.best?.trip ?? 0) / 1000; }

  /** Whether another frame may be sent, with `inFlight` at most under way. */
  ready(inFlight) {
    return this.#offer !== null && !this.#leaving && this.#socket.readyState === WebSocket.OPEN
      && this.#unanswered.size < Math.min(inFlight, this.#offer.window);
  }

  send({ captured, payload, encoding }) {
    const sequence = this.#next;
    this.#next += 1;
    const message = encodeFrame(sequence, captured, payload, encoding);
    const frame = { captured, sent: clock(), bytes: payload.length };
    if (this.#options.policy === "lossless") frame.message = message;
    this.#unanswered.set(sequence, frame);
    this.#socket.send(message);
    return sequence;
  }

  end() {
    this.#ended = true;
    this.#clear();
    this.#socket?.close();
  }

  #connect() {
    this.#goodbye = null;
    this.#leaving = false;
    this.#clock = new ServerClock();
    const first = this.#unanswered.keys().next();
    const options = { ...this.#options, session: this.#session, connection: this.#number,
      model_changes: true,
      next_sequence: first.done ? this.#next : first.value };
    this.#number += 1;
    const socket = new WebSocket(this.#address);
    socket.binaryType = "arraybuffer";
    socket.onopen = () => socket.send(encodeHello(options));
    socket.onmessage = ({ data }) => this.#receive(decode(new Uint8Array(data)));
    socket.onclose = ({ code }) => { if (socket === this.#socket) this.#lost(code); };
    this.#socket = socket;
  }

  #receive(message) {
    const now = clock();
    this.#heard = now;
    switch (message.kind) {
      case "welcome": this.#welcome(message); break;
      case "pong": this.#clock.add(message, now); break;
      case "result": {
        const frame = this.#answered(message.sequence);
        if (frame) this.#on.result(message, frame, this.#delays(message, frame, now));
        break;
      }
      case "dropped":
        for (const sequence of message.sequences) this.#answered(sequence);
        this.#on.dropped(message.reason === 1 ? "newer" : "leaving", message.sequences.length);
        break;
      case "model": this.#on.model(message); break;
      case "failed": this.#answered(message.sequence); this.#on.failed(message); break;
      case "goaway": this.#goAway(message); break;
      case "close": this.#goodbye = message; break;
    }
    if (this.#leaving && this.#unanswered.size === 0) this.#socket.close();
  }

  #answered(sequence) {
    const frame = this.#unanswered.get(sequence);
    this.#unanswered.delete(sequence);
    return frame;
  }

  #delays(message, frame, now) {
    const offset = this.#clock.best?.offset;
    const inServer = message.sent - message.received;
    const link = now - frame.sent - inServer;
    const up = offset === undefined ? link / 2
      : Math.min(link, Math.max(0, message.received - offset - frame.sent));
    return { total: now - frame.captured, encode: frame.sent - frame.captured, up,
      decode: message.decode, queue: message.queue, inference: message.inference,
      post: message.post, down: link - up };
  }

  #welcome(offer) {
    this.#offer = offer;
    this.#attempt = 0;
    // A live stream is not resumed, but a version that is tried on some streams stays with it.
    this.#session = offer.session;
    if (this.#options.policy === "lossless") {
      for (const [sequence, frame] of this.#unanswered) {
        if (sequence >= offer.next_sequence) this.#socket.send(frame.message);
      }
    }
    for (let count = 0; count < 4; count += 1) this.#ping();
    this.#timers.push(setInterval(() => this.#ping(), PING_EVERY));
    this.#on.welcome(offer);
    this.#on.state("open", "");
  }

  #ping() {
    if (this.#socket.readyState !== WebSocket.OPEN) return;
    // A link that was cut says nothing: without this the browser waits for minutes.
    if (clock() - this.#heard > SILENCE * 1000) { this.#socket.close(); this.#lost(1006); return; }
    this.#socket.send(encodePing(clock()));
  }

  #goAway({ reason }) {
    this.#leaving = true;
    this.#on.state("leaving", `The server is going away (${reason}); looking for another one.`);
  }

  #clear() {
    for (const timer of this.#timers) clearInterval(timer);
    this.#timers = [];
    this.#offer = null;
  }

  #lost(code) {
    if (this.#ended) return;
    this.#clear();
    this.#socket.onclose = this.#socket.onmessage = null;
    const reason = this.#goodbye?.reason ?? "";
    if (!retryable(this.#goodbye?.code ?? code)) {
      this.#ended = true;
      this.#on.state("refused", reason || `The server ended the stream (code ${code}).`);
      return;
    }
    if (this.#options.policy === "live" && this.#unanswered.size > 0) {
      this.#on.dropped("lost", this.#unanswered.size);
      this.#unanswered.clear();
    }
    const wait = pause(this.#attempt);
    this.#attempt += 1;
    this.#on.state("waiting", reason);
    this.#timers.push(setTimeout(() => this.#connect(), wait));
  }
}
