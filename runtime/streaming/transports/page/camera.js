// The camera's pictures to the server as JPEG, the newest first; boxes drawn over the video.

import { decode, encodeFrame, encodeHello, encodePing } from "./protocol.js";

const IN_FLIGHT = 3;
const QUALITY = 0.8;
const LONGER_SIDE = 640;

const element = (id) => document.getElementById(id);
const form = element("form");
const video = element("video");
const overlay = element("overlay");
const status = element("status");
const figures = element("figures");

let stream = null;

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  if (stream) { stop("stopped"); return; }
  try {
    video.srcObject = await navigator.mediaDevices.getUserMedia(
      { video: { facingMode: "environment", width: { ideal: 1280 } }, audio: false });
    await video.play();
    stream = open(element("token").value, element("track").checked);
    element("button").textContent = "Stop";
  } catch (error) {
    stop(`no camera: ${error.message}`);
  }
});

function open(token, track) {
  const scheme = location.protocol === "https:" ? "wss" : "ws";
  const socket = new WebSocket(`${scheme}://${location.host}/stream`);
  const state = { socket, labels: [], next: 0, underWay: new Map(), results: [], dropped: 0,
    busy: false, canvas: document.createElement("canvas"), timer: 0 };
  socket.binaryType = "arraybuffer";
  socket.onopen = () => socket.send(
    encodeHello({ token, policy: "live", track, client: "page" }));
  socket.onmessage = ({ data }) => receive(state, decode(new Uint8Array(data)));
  socket.onclose = () => { if (stream === state) stop(status.dataset.reason || "connection lost"); };
  status.textContent = "connecting";
  delete status.dataset.reason;
  return state;
}

function stop(reason) {
  if (stream) { clearInterval(stream.timer); stream.socket.close(); }
  for (const track of video.srcObject?.getTracks() ?? []) track.stop();
  stream = null;
  overlay.getContext("2d").clearRect(0, 0, overlay.width, overlay.height);
  element("button").textContent = "Start";
  status.textContent = reason;
}

function receive(state, message) {
  switch (message.kind) {
    case "welcome": welcome(state, message); break;
    case "result": result(state, message); break;
    case "dropped":
      for (const sequence of message.sequences) state.underWay.delete(sequence);
      state.dropped += message.sequences.length;
      break;
    case "failed": state.underWay.delete(message.sequence); status.textContent = message.reason; break;
    case "goaway": case "close": status.dataset.reason = message.reason; break;
  }
}

function welcome(state, { model }) {
  state.labels = model.labels;
  const random = model.weights_trained ? "" : ", random weights";
  status.textContent = `${model.name} on ${model.engine} ${model.precision}${random}`;
  state.timer = setInterval(() => state.socket.send(encodePing(clock())), 5000);
  const next = () => {
    if (stream !== state) return;
    send(state);
    (video.requestVideoFrameCallback ?? requestAnimationFrame).call(
      video.requestVideoFrameCallback ? video : window, next);
  };
  next();
}

function clock() {
  return Math.round(performance.now() * 1000);
}

function send(state) {
  if (state.busy || state.underWay.size >= IN_FLIGHT || !video.videoWidth) return;
  const captured = clock();
  const scale = Math.min(1, LONGER_SIDE / Math.max(video.videoWidth, video.videoHeight));
  const { canvas } = state;
  canvas.width = Math.round(video.videoWidth * scale);
  canvas.height = Math.round(video.videoHeight * scale);
  canvas.getContext("2d").drawImage(video, 0, 0, canvas.width, canvas.height);
  state.busy = true;
  canvas.toBlob(async (blob) => {
    const picture = new Uint8Array(await blob.arrayBuffer());
    state.busy = false;
    if (state.socket.readyState !== WebSocket.OPEN) return;
    state.underWay.set(state.next, captured);
    state.socket.send(encodeFrame(state.next, captured, picture));
    state.next += 1;
  }, "image/jpeg", QUALITY);
}

function result(state, answer) {
  const now = clock();
  const total = (now - state.underWay.get(answer.sequence)) / 1000;
  state.underWay.delete(answer.sequence);
  state.results.push(now);
  while (state.results[0] < now - 2e6) state.results.shift();
  draw(answer, state.labels);
  figures.textContent = `${(state.results.length / 2).toFixed(1)} frames/s, ` +
    `${total.toFixed(0)} ms (decode ${ms(answer.decode)}, queue ${ms(answer.queue)}, ` +
    `inference ${ms(answer.inference)}, post ${ms(answer.post)}), ${state.dropped} dropped`;
}

function ms(microseconds) {
  return (microseconds / 1000).toFixed(1);
}

function draw(answer, labels) {
  overlay.width = answer.width;
  overlay.height = answer.height;
  const pen = overlay.getContext("2d");
  pen.lineWidth = 2;
  pen.font = "16px system-ui";
  for (const { box: [x1, y1, x2, y2], confidence, classId, track } of answer.detections) {
    const colour = `hsl(${((track < 0 ? classId : track) * 137.5) % 360} 90% 55%)`;
    const name = `${labels[classId]}${track < 0 ? "" : ` #${track}`} ${Math.round(confidence * 100)} %`;
    pen.strokeStyle = pen.fillStyle = colour;
    pen.strokeRect(x1, y1, x2 - x1, y2 - y1);
    pen.fillRect(x1, Math.max(0, y1 - 20), pen.measureText(name).width + 8, 20);
    pen.fillStyle = "black";
    pen.fillText(name, x1 + 4, Math.max(15, y1 - 5));
  }
}
