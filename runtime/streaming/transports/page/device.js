// The tab "On this device": the server's model in this browser, by onnxruntime-web, and how fast.

import { listModels, serverRow } from "./detect.js";
import { paint } from "./draw.js";
import { element, onFile, say, streamServer } from "./page.js";
import { median } from "./stats.js";
import {
  blueFirst, CONFIDENCE, decodeDarknet, IOU, letterbox, suppress, toSource,
} from "./yolo.js";

const PIECE = 1 << 20;
const WARM_UP = 2;
const SECONDS = 4;
const MOST = 200;
const FLAVOURS = {
  webgpu: { script: "ort.webgpu.bundle.min.mjs", binary: "ort-wasm-simd-threaded.asyncify.wasm" },
  wasm: { script: "ort.wasm.bundle.min.mjs", binary: "ort-wasm-simd-threaded.wasm" },
};
let network = null;
let measured = null;
let file = null;

class DeviceError extends Error {}

/** A file in pieces, which is all that the server gives of a large one; `progress(bytes)` after each.
 *  A server that gives many files at once is asked again after a second. */
async function fetchWhole(address, headers, progress) {
  const pieces = [];
  let size = Infinity;
  let have = 0;
  let patience = 30;
  while (have < size) {
    const answer = await fetch(address, { headers: { ...headers, Range: `bytes=${have}-${have + PIECE - 1}` } });
    if (answer.status === 401) throw new DeviceError("The server gives its model only with the token. Type it under Detect.");
    if (answer.status === 503 && patience > 0) {
      patience -= 1;
      await new Promise((wake) => setTimeout(wake, 1000));
      continue;
    }
    if (!answer.ok) return null;
    const piece = new Uint8Array(await answer.arrayBuffer());
    size = Number(answer.headers.get("Content-Range")?.split("/")[1] ?? piece.length);
    pieces.push(piece);
    have += piece.length;
    progress(piece.length);
  }
  return new Uint8Array(await new Blob(pieces).arrayBuffer());
}

async function load() {
  const headers = { Authorization: `Bearer ${element("token").value}` };
  const bar = element("device-progress");
  let fetched = 0;
  bar.hidden = false;
  // About what the small model and the runtime weigh; the bar need not be exact.
  const progress = (bytes) => { fetched += bytes; bar.value = Math.min(1, fetched / 50e6); };
  if (streamServer === null) {
    throw new DeviceError("The model comes from the stream server, and this page knows of none that a browser "
      + "would trust. Open the stream server's own page: visionstack open prints its address.");
  }
  await listModels();
  const name = element("model").value || element("model").options[1]?.value;
  if (!name) throw new DeviceError("The server names no model. Is it up? Measure tries again.");
  const gpu = Boolean(await navigator.gpu?.requestAdapter().catch(() => null));
  const flavour = FLAVOURS[gpu ? "webgpu" : "wasm"];
  const runtime = (name) => new URL(`onnxruntime/${name}`, import.meta.url).href;
  const binary = await fetchWhole(runtime(flavour.binary), {}, progress);
  if (binary === null) {
    throw new DeviceError("The server has no onnxruntime-web to lend. Where it is installed run npm ci (in a "
      + "checkout) or npm install --prefix ENVIRONMENT onnxruntime-web@1.30.0 (ENVIRONMENT: the folder of its virtual "
      + "environment), then measure again.");
  }
  const part = async (piece) => {
    const bytes = await fetchWhole(new URL(`models/${name}/${piece}`, streamServer), headers, progress);
    if (bytes === null) throw new DeviceError(`The server does not lend ${piece} of ${name}.`);
    return bytes;
  };
  const manifest = JSON.parse(new TextDecoder().decode(await part("model.json")));
  if (manifest.family !== "darknet") {
    throw new DeviceError(`This page runs YOLOv3's family; ${name} is of ${manifest.family}.`);
  }
  const labels = new TextDecoder().decode(await part(manifest.labels)).trim().split("\n");
  const graph = await part(manifest.model);
  const outside = [];
  for (const other of Object.keys(manifest.files)) {
    if (![manifest.model, manifest.labels, manifest.ready].includes(other)) {
      outside.push({ path: other, data: await part(other) });
    }
  }
  const ort = await import(runtime(flavour.script));
  ort.env.wasm.wasmBinary = binary.buffer;
  ort.env.wasm.numThreads = globalThis.crossOriginIsolated ? Math.min(8, navigator.hardwareConcurrency ?? 1) : 1;
  say("device-status", "Preparing the model…");
  const session = await ort.InferenceSession.create(graph, {
    executionProviders: gpu ? ["webgpu", "wasm"] : ["wasm"], externalData: outside });
  return { ort, session, manifest, labels, engine: gpu ? "WebGPU" : "WASM",
    threads: ort.env.wasm.numThreads, version: ort.env.versions?.web ?? "" };
}

function prepare(picture, { input, preprocessing }, canvas) {
  const lies = letterbox(picture.width, picture.height, input);
  Object.assign(canvas, { width: input.width, height: input.height });
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  const { fill } = preprocessing;
  pen.fillStyle = `rgb(${fill} ${fill} ${fill})`;
  pen.fillRect(0, 0, input.width, input.height);
  pen.drawImage(picture, lies.left, lies.top, lies.width, lies.height);
  return { lies, pixels: blueFirst(pen.getImageData(0, 0, input.width, input.height).data) };
}

async function detect(picture, canvas) {
  const { ort, session, manifest } = network;
  const { lies, pixels } = prepare(picture, manifest, canvas);
  const { input } = manifest;
  const began = performance.now();
  const outputs = await session.run({ [session.inputNames[0]]:
    new ort.Tensor("uint8", pixels, [1, input.height, input.width, 3]) });
  const inference = performance.now() - began;
  const heads = session.outputNames.map((name) => outputs[name]);
  const found = suppress(decodeDarknet(heads, manifest.anchors, input, CONFIDENCE), IOU);
  return { detections: toSource(found, lies), inference };
}

/** The chosen picture, else what the video shows, else a drawn one (times do not depend on it). */
async function currentPicture() {
  if (file) return createImageBitmap(file, { imageOrientation: "from-image" });
  const video = element("video");
  if (video.videoWidth) return createImageBitmap(video);
  const blank = new ImageData(640, 480);
  for (let at = 0; at < blank.data.length; at += 4) {
    blank.data.set([(at / 4) % 640 / 3, Math.floor(at / 2560) / 3, 120, 255], at);
  }
  return createImageBitmap(blank);
}

function show(picture, detections) {
  const canvas = element("device-canvas");
  Object.assign(canvas, { width: picture.width, height: picture.height });
  canvas.parentElement.style.aspectRatio = String(picture.width / picture.height);
  const pen = canvas.getContext("2d");
  pen.drawImage(picture, 0, 0);
  paint(pen, { width: picture.width, height: picture.height, detections }, network.labels, canvas);
  element("device-empty").hidden = true;
  canvas.dispatchEvent(new CustomEvent("drawn", { detail: { detections } }));
}

function fillTable() {
  const rows = [{ where: `This device: ${network.engine}, ${measured.threads} thread${measured.threads > 1 ? "s" : ""}`,
    ms: measured.latency_ms.median, rate: measured.pictures_per_second }];
  if (serverRow) rows.push(serverRow, { where: "Server: inference alone", ms: serverRow.inference });
  element("rows").replaceChildren(...rows.map(({ where, ms, rate }) => {
    const row = document.createElement("tr");
    for (const text of [where, ms.toFixed(1), rate === undefined ? "" : rate.toFixed(1)]) {
      const cell = document.createElement("td");
      cell.textContent = text;
      row.append(cell);
    }
    return row;
  }));
}

async function measure() {
  element("measure").disabled = true;
  try {
    say("device-status", "Fetching the model…");
    network ??= await load();
    element("device-progress").hidden = true;
    say("device-status", "Measuring…");
    const picture = await currentPicture();
    const canvas = document.createElement("canvas");
    let found;
    for (let count = 0; count < WARM_UP; count += 1) found = await detect(picture, canvas);
    show(picture, found.detections);
    const whole = [];
    const inference = [];
    const began = performance.now();
    while (whole.length < MOST && performance.now() - began < SECONDS * 1000) {
      const start = performance.now();
      const one = await detect(picture, canvas);
      whole.push(performance.now() - start);
      inference.push(one.inference);
    }
    const seconds = (performance.now() - began) / 1000;
    const { manifest } = network;
    measured = { schema: 1, kind: "browser", name: "this device", model: manifest.name,
      version: manifest.version, task: manifest.task, engine: `onnxruntime-web ${network.version} ${network.engine}`,
      threads: network.threads, agent: navigator.userAgent, processors: navigator.hardwareConcurrency ?? null,
      measured: new Date().toISOString(), seconds, pictures: whole.length,
      pictures_per_second: whole.length / seconds,
      picture: { width: picture.width, height: picture.height, chosen: Boolean(file) },
      latency_ms: { median: median(whole), lowest: Math.min(...whole), highest: Math.max(...whole) },
      inference_ms: { median: median(inference) }, raw_ms: whole.map((ms) => Number(ms.toFixed(3))) };
    fillTable();
    element("download").disabled = false;
    say("device-status", `${found.detections.length} found; ${measured.latency_ms.median.toFixed(0)} ms a picture `
      + `over ${whole.length} pictures, ${measured.inference_ms.median.toFixed(0)} of them the network.`);
  } catch (error) {
    say("device-status", error instanceof DeviceError ? error.message : `It failed: ${error.message}`, true);
  } finally {
    element("device-progress").hidden = true;
    element("measure").disabled = false;
  }
}

export function setUpDevice() {
  element("measure").addEventListener("click", measure);
  onFile("device-file", (chosen) => { file = chosen; measure(); });
  element("download").addEventListener("click", () => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([JSON.stringify(measured, null, 1)], { type: "application/json" }));
    link.download = "visionstack-this-device.json";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  });
}
