// The Detect tab: a source's pictures to the server, its boxes over the picture.

import { Adaptation, framesInFlight } from "./adapt.js";
import { closeSource, eachPicture, openSource, SourceError } from "./capture.js";
import { clock, Connection } from "./connection.js";
import { draw, paint } from "./draw.js";
import { H264Encoder, hasH264, JpegEncoder } from "./encoders.js";
import { FLAG, NEEDS_KEYFRAME } from "./protocol.js";
import { HeldPictures } from "./shown.js";
import { CAUSES, drawChart, Statistics } from "./stats.js";
import { element, say, streamServer } from "./page.js";

const BACKLOG_BYTES = 96 * 1024;
const TICK = 1000;

let session = null;
let substitute = "";
export let serverRow = null;

class Session {
  stats = new Statistics();
  adaptation = new Adaptation();
  labels = [];
  last = null;
  offer = null;
  #pictures = new HeldPictures();
  #stops = [];
  #sentAt = 0;
  #held = 0;
  #looked = 0;
  #inFlight = 2;

  constructor(video, options, encoder) {
    this.video = video;
    this.encoder = encoder;
    const address = new URL("stream", streamServer);
    address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
    this.connection = new Connection(address.href, options, {
      state: (name, words) => this.#state(name, words),
      welcome: (offer) => this.#welcome(offer),
      model: (message) => this.#model(message),
      result: (...all) => this.#result(...all),
      dropped: (cause, count) => this.stats.drop(cause, count),
      failed: (message) => this.#failed(message),
    });
    this.#stops.push(eachPicture(video, (captured) => this.#take(captured)));
    const timer = setInterval(() => this.#tick(), TICK);
    this.#stops.push(() => clearInterval(timer));
    const lock = keepAwake();
    this.#stops.push(lock);
  }

  end() {
    for (const stop of this.#stops) stop();
    this.connection.end();
    this.encoder?.close();
  }

  frame(frame) {
    // Encoding took a moment, in which the connection may have gone.
    if (!this.connection.ready(this.offer?.window ?? 0)) { this.encoder.restart(); this.stats.drop("busy"); return; }
    this.connection.send(frame);
  }

  #take(captured) {
    if (!this.offer || !this.encoder) return;
    const level = this.adaptation.now;
    if (captured - this.#sentAt < 900_000 / level.rate) return;
    this.#looked += 1;
    const full = this.connection.backlog > BACKLOG_BYTES;
    if (full) this.#held += 1;
    if (full || this.encoder.busy || !this.connection.ready(this.#inFlight)) {
      this.stats.drop("busy");
      return;
    }
    this.#sentAt = captured;
    this.encoder.encode(this.video, captured, level);
    // After the encoder has it: this copy is in nobody's way then.
    if (element("show").value === "answered") this.#pictures.hold(captured, this.video);
  }

  #state(name, words) {
    if (name === "open") return;
    this.offer = null;
    blank();
    if (name === "refused") { stop(`${words}. ${REMEDIES.find(([text]) => words.includes(text))?.[1] ?? ""}`, true); return; }
    say("status", name === "waiting"
      ? `No connection to the server${words ? ` (${words})` : ""}. Trying again by itself.` : words, true);
  }

  #welcome(offer) {
    this.offer = offer;
    this.labels = offer.model.labels;
    // A new connection may be a new server with a new decoder.
    this.encoder?.restart();
    this.#told();
  }

  /** The results after this are a newer version's, which may know other objects. */
  #model({ model }) {
    this.offer = { ...this.offer, model };
    this.labels = model.labels;
    this.#told();
  }

  #told() {
    const { model } = this.offer;
    const random = model.weights_trained ? "" : " Its weights are random: boxes mean nothing.";
    const words = this.adaptation.words;
    say("status", words || `Live: ${model.name} on ${model.engine}.${random}${substitute}`, words !== "");
    element("how").textContent = `${this.encoder.name}, ${this.adaptation.now.side} px. `
      + `${model.name} ${model.version}, ${model.engine} ${model.precision}, ${model.device}.`;
  }

  #result(answer, frame, delays) {
    this.last = { ...answer, labels: this.labels };
    const picture = element("picture");
    picture.hidden = element("show").value !== "answered"
      || !this.#pictures.show(frame.captured, picture);
    const boxes = draw(element("overlay"), answer, this.labels);
    const now = clock();
    this.stats.result(now, { ...delays, total: now - frame.captured }, frame.bytes);
    if (this.stats.answered === 1) { element("figures").hidden = false; this.#show(); }
    element("overlay").dispatchEvent(new CustomEvent("drawn", { detail: {
      sequence: answer.sequence, boxes, total: now - frame.captured, labels: answer.detections.map(
        ({ classId }) => this.labels[classId]),
      predicted: Boolean(answer.flags & FLAG.PREDICTED) } }));
  }

  #failed({ code, reason }) {
    this.stats.drop("failed");
    if (code === NEEDS_KEYFRAME) this.encoder.restart();
    else say("status", `The server could not use a frame: ${reason}`, true);
  }

  #tick() {
    const summary = this.#show();
    if (element("adapt").value === "yes" && this.offer && this.adaptation.tell({
      link: summary.rate ? summary.link - this.connection.roundTrip : undefined,
      backlog: this.#looked > 0 && this.#held > this.#looked / 2 })) this.#told();
    this.#held = this.#looked = 0;
    if (!this.offer) return;
    const parts = Object.fromEntries(summary.parts.map(({ name, ms }) => [name, ms]));
    this.#inFlight = framesInFlight(this.#inFlight, { ...parts, total: summary.total,
      link: summary.link, window: this.offer.window });
  }

  #show() {
    const summary = this.stats.summary(clock());
    const figure = (value, digits) => (value === undefined ? "–" : value.toFixed(digits));
    element("rate").textContent = figure(summary.rate, summary.rate < 10 ? 1 : 0);
    element("delay").textContent = figure(summary.total, 0);
    element("megabits").textContent = figure(summary.megabits, 1);
    element("chip").hidden = false;
    element("chip").textContent = `${figure(summary.rate, 0)} frames/s · ${figure(summary.total, 0)} ms`;
    drawChart(element("chart"), summary.parts);
    const causes = Object.entries(this.stats.drops).filter(([, count]) => count > 0);
    element("drops").replaceChildren(...(causes.length ? causes : [["none", ""]]).map(([cause, count]) => {
      const item = document.createElement("li");
      const value = document.createElement("b");
      value.textContent = count;
      item.append(CAUSES[cause] ?? "none so far", value);
      return item;
    }));
    if (summary.rate && this.offer) {
      const parts = Object.fromEntries(summary.parts.map(({ name, ms }) => [name, ms]));
      serverRow = { where: `Server: ${this.offer.model.name}, ${this.offer.model.engine}, link included`,
        ms: summary.total, rate: summary.rate, inference: parts.inference };
    }
    return summary;
  }
}

const REMEDIES = [
  ["token", "Copy the token that visionstack serve or visionstack open prints, and press Start."],
  ["model", "Choose another model under More."],
  ["TOO_MANY", "Close another stream first."],
];

/** The live picture without boxes: while nothing is answered, old boxes would fit nobody. */
function blank() {
  element("picture").hidden = true;
  const overlay = element("overlay");
  overlay.getContext("2d").clearRect(0, 0, overlay.width, overlay.height);
}

function keepAwake() {
  let lock = null;
  const ask = async () => {
    if (document.visibilityState !== "visible" || !navigator.wakeLock) return;
    try { lock = await navigator.wakeLock.request("screen"); } catch { /* Battery saver refuses it. */ }
  };
  ask();
  document.addEventListener("visibilitychange", ask);
  return () => { document.removeEventListener("visibilitychange", ask); lock?.release(); };
}

async function chooseEncoder(wanted) {
  const on = {
    frame: (frame) => session?.frame(frame),
    dropped: (count) => session?.stats.drop("encoder", count),
    broken: () => {
      if (!session) return;
      // The hardware gave up: JPEG always works.
      session.encoder = new JpegEncoder(on);
    },
  };
  const h264 = wanted !== "jpeg" && await hasH264();
  if (wanted === "h264" && !h264) {
    throw new SourceError("This browser has no H.264 encoder. Choose JPEG or Best available.");
  }
  return h264 ? new H264Encoder(on) : new JpegEncoder(on);
}

/** Where there is no camera the sample clip shows what it would be like. */
async function openChosen(video) {
  substitute = "";
  try {
    await openSource(video, element("source").value, element("file").files[0]);
  } catch (error) {
    if (!error.noCamera) throw error;
    element("source").value = "sample";
    await openSource(video, "sample");
    substitute = " This device has no camera: that is the sample clip.";
  }
}

async function start() {
  const video = element("video");
  if (streamServer === null) {
    say("status", "This page knows of no stream that a browser would trust. Deploy with certificate_arn and "
      + "stream_host, or open the stream server's own page: visionstack open prints its address.", true);
    return;
  }
  const number = (id) => (element(id).value === "" ? null : Number(element(id).value));
  if (!element("token").value) {
    element("token-field").hidden = false;
    element("token").focus();
    say("status", "Give the token first: visionstack serve and visionstack open print it.", true);
    return;
  }
  say("status", "Opening…");
  try {
    const encoder = await chooseEncoder(element("encoding").value);
    await openChosen(video);
    const ratio = video.videoWidth / video.videoHeight;
    element("stage").style.aspectRatio = String(ratio);
    element("stage").style.setProperty("--ratio", String(ratio));
    element("empty").hidden = true;
    session = new Session(video, { token: element("token").value, client: "page",
      policy: element("policy").value, model: element("model").value, track: element("track").checked,
      confidence: number("confidence") / 100, gate: number("gate") }, encoder);
    element("start").textContent = "Stop";
    element("snapshot").disabled = false;
    say("status", "Connecting…");
  } catch (error) {
    stop(error instanceof SourceError ? error.message : `It does not start: ${error.message}`, true);
  }
}

function stop(words, isError = false) {
  session?.end();
  session = null;
  closeSource(element("video"));
  blank();
  element("start").textContent = "Start";
  element("snapshot").disabled = true;
  element("empty").hidden = false;
  element("chip").hidden = true;
  if (isError) element("token-field").hidden = false;
  say("status", words, isError);
}

function snapshot() {
  const [video, picture] = [element("video"), element("picture")];
  const shown = picture.hidden ? video : picture;
  const canvas = document.createElement("canvas");
  Object.assign(canvas, { width: shown.videoWidth ?? shown.width,
    height: shown.videoHeight ?? shown.height });
  const pen = canvas.getContext("2d");
  pen.drawImage(shown, 0, 0);
  if (session?.last) paint(pen, session.last, session.last.labels, canvas);
  canvas.toBlob((blob) => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = `visionstack-${new Date().toISOString().slice(0, 19).replaceAll(":", "")}.png`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  }, "image/png");
}

let listing = null;

/** Fill the list of models once; a server that does not answer is asked again by the next call, and
 *  uses its first model meanwhile. */
export function listModels() {
  if (streamServer === null) return Promise.resolve();
  listing ??= fetch(new URL("healthz", streamServer))
    .then((answer) => answer.json())
    .then(({ models }) => {
      for (const name of Object.keys(models)) element("model").add(new Option(name, name));
    })
    .catch(() => { listing = null; });
  return listing;
}

export function setUpDetect() {
  element("detect-form").addEventListener("submit", (event) => {
    event.preventDefault();
    if (session) stop("Stopped."); else start();
  });
  element("source").addEventListener("change", () => {
    element("file-field").hidden = element("source").value !== "file";
  });
  element("confidence").addEventListener("input", () => {
    element("confidence-value").textContent = `${element("confidence").value}%`;
  });
  // Options are the stream's: a change begins a new stream on the same source.
  for (const id of ["confidence", "track", "model", "policy", "gate", "encoding", "source"]) {
    element(id).addEventListener("change", () => {
      if (!session || element(id).value === "file") return;
      stop("Changing…");
      start();
    });
  }
  element("snapshot").addEventListener("click", snapshot);
  element("full").addEventListener("click", () => {
    if (document.fullscreenElement) document.exitFullscreen();
    else element("stage").requestFullscreen?.().catch(() => say("status", "This browser has no full screen for this.", true));
  });
  listModels();
}
