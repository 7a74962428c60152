// The Classify tab: one photo to the serverless lane (docs/api/openapi.json).

import { element, onFile, say } from "./page.js";

const LONGER_SIDE = 1600;
const NAMES = { init: "Environment starts", model_download: "Model fetched", model_load: "Model loaded",
  download: "Photo fetched", decode: "Photo decoded", inference: "Inference", keep: "Photo stored" };
let photo = null;
let busy = false;

class ApiError extends Error {}

const REMEDIES = {
  401: "The API wants signed calls (auth=iam), which this page cannot make. Deploy it with an API key.",
  403: "The API key is missing or wrong, or the address is. The command visionstack open prints both.",
  404: "The address leads to no such route. It ends in the stage, such as /v1.",
  413: "The photo is too large. Choose Presigned upload.",
  422: "The function cannot read this photo. Choose a JPEG, PNG or WebP.",
  429: "No environment is free just now. Try again in a few seconds.",
  503: "No environment is free just now. Try again in a few seconds.",
};

async function call(path, options, address, key) {
  let answer;
  try {
    answer = await fetch(`${address}${path}`, { ...options, method: "POST",
      headers: { ...options.headers, ...(key ? { "x-api-key": key } : {}) } });
  } catch {
    throw new ApiError("The API did not answer this page. Either nothing runs at that address, or it "
      + `does not let in pages of this origin (CORS): deploy it with -c cors_origin=${location.origin}.`);
  }
  const body = await answer.json().catch(() => ({}));
  if (!answer.ok) {
    throw new ApiError(REMEDIES[answer.status]
      ?? `The API answered ${answer.status}: ${body.message ?? "without a reason"}.`);
  }
  return body;
}

/** The photo upright and no larger than the network needs; a phone's is 10 MB else. */
async function shrink(file) {
  const picture = await createImageBitmap(file, { imageOrientation: "from-image" });
  const scale = Math.min(1, LONGER_SIDE / Math.max(picture.width, picture.height));
  if (scale === 1 && /^image\/(jpeg|png|webp)$/.test(file.type)) return file;
  const canvas = document.createElement("canvas");
  canvas.width = Math.round(picture.width * scale);
  canvas.height = Math.round(picture.height * scale);
  canvas.getContext("2d").drawImage(picture, 0, 0, canvas.width, canvas.height);
  return new Promise((done) => canvas.toBlob(done, "image/jpeg", 0.9));
}

async function upload(picture, address, key) {
  const form = await call("/images", { headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ method: "images", content_type: picture.type }) }, address, key);
  const { url, fields } = form.upload;
  const body = new FormData();
  for (const [name, value] of Object.entries(fields)) body.append(name, value);
  body.append("file", picture);
  let answer;
  try {
    answer = await fetch(url, { method: "POST", body });
  } catch {
    throw new ApiError("The bucket does not allow uploads from pages of this origin (CORS). "
      + `Choose One call instead, or deploy with -c cors_origin=${location.origin}.`);
  }
  if (!answer.ok) throw new ApiError(`The bucket refused the photo with ${answer.status}.`);
  return form.file_path;
}

async function recognise(picture) {
  const address = element("api").value.trim().replace(/\/+$/, "");
  const key = element("key").value.trim();
  if (!address) throw new ApiError("Give the API's address first; visionstack open prints it.");
  const began = performance.now();
  if (element("way").value === "direct") {
    const answer = await call("/recognitions", { headers: { "Content-Type": picture.type },
      body: picture }, address, key);
    return { answer, ms: performance.now() - began };
  }
  const path = await upload(picture, address, key);
  const uploaded = performance.now();
  const answer = await call("/classification", { headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ method: "classification", file_path: path }) }, address, key);
  return { answer, ms: performance.now() - began, upload: uploaded - began };
}

function row(words, ms) {
  const item = document.createElement("li");
  const value = document.createElement("b");
  value.textContent = `${ms.toFixed(ms < 10 ? 1 : 0)} ms`;
  item.append(words, value);
  return item;
}

function show({ answer, ms, upload: uploaded }) {
  const badge = element("temperature");
  badge.textContent = answer.cold ? "Cold start" : "Warm";
  badge.className = `badge ${answer.cold ? "cold" : "warm"}`;
  element("call-time").textContent = `${ms.toFixed(0)} ms from here and back`;
  element("top").replaceChildren(...[1, 2, 3, 4, 5].filter((place) => `TOP${place}_label` in answer)
    .map((place) => {
      const share = answer[`TOP${place}_softmax`];
      const item = document.createElement("li");
      const line = document.createElement("div");
      const name = document.createElement("span");
      name.textContent = answer[`TOP${place}_label`];
      const value = document.createElement("span");
      value.textContent = `${(share * 100).toFixed(1)}%`;
      line.append(name, value);
      const meter = document.createElement("meter");
      meter.value = share;
      meter.setAttribute("aria-label", name.textContent);
      item.append(line, meter);
      return item;
    }));
  const inside = Object.entries(answer.timings);
  // A cold call's initialisation is apart from the time that the function states.
  const rest = ms - (uploaded ?? 0) - answer.time * 1000 - (answer.cold ? answer.timings.init ?? 0 : 0);
  element("stages").replaceChildren(...(uploaded === undefined ? [] : [row("Presigned upload", uploaded)]),
    ...inside.map(([name, value]) => row(NAMES[name] ?? name.replaceAll("_", " "), value)),
    row("Network and gateway", Math.max(0, rest)));
  element("classes").hidden = false;
  say("classify-status", `${answer.TOP1_label}, ${Math.round(answer.TOP1_softmax * 100)}% sure.`);
}

async function classify(file) {
  if (busy) return;
  busy = true;
  // What was said of another photo must not stand under this one.
  if (file !== photo) element("classes").hidden = true;
  photo = file;
  try {
    const image = element("photo");
    if (image.src) URL.revokeObjectURL(image.src);
    image.src = URL.createObjectURL(file);
    image.hidden = false;
    element("photo-empty").hidden = true;
    say("classify-status", "Asking…");
    let picture;
    try {
      picture = await shrink(file);
    } catch {
      photo = null;
      image.hidden = true;
      element("photo-empty").hidden = false;
      throw new ApiError(`This browser cannot read ${file.name}. Choose a JPEG, PNG or WebP photo.`);
    }
    show(await recognise(picture));
  } catch (error) {
    element("classes").hidden = true;
    say("classify-status", error instanceof ApiError ? error.message : `It failed: ${error.message}`, true);
  } finally {
    busy = false;
    element("again").disabled = photo === null;
  }
}

export function setUpClassify() {
  for (const id of ["take", "choose"]) onFile(id, classify);
  element("again").addEventListener("click", () => classify(photo));
  element("classify-form").addEventListener("submit", (event) => {
    event.preventDefault();
    if (photo) classify(photo);
  });
}
