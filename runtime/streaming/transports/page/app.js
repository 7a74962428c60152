// Tabs, and what the address brings: #token=… &api=… &key=…, taken out of the address at once.

import { setUpDetect } from "./detect.js";
import { element, say } from "./page.js";

const TABS = ["detect", "classify", "device"];
const loaded = new Set(["detect"]);

async function show(name) {
  for (const tab of TABS) {
    const chosen = tab === name;
    element(tab).hidden = !chosen;
    element(`tab-${tab}`).setAttribute("aria-selected", String(chosen));
    element(`tab-${tab}`).tabIndex = chosen ? 0 : -1;
  }
  if (loaded.has(name)) return;
  loaded.add(name);
  if (name === "classify") (await import("./classify.js")).setUpClassify();
  if (name === "device") (await import("./device.js")).setUpDevice();
  element(name).dataset.ready = "yes";
}

function readAddress() {
  const given = new URLSearchParams(location.hash.slice(1));
  if ([...given.keys()].some((name) => ["token", "api", "key"].includes(name))) {
    history.replaceState(null, "", location.pathname + location.search);
  }
  for (const name of ["token", "api", "key"]) {
    if (given.get(name)) element(name).value = given.get(name);
  }
  if (given.get("token")) {
    element("token-field").hidden = true;
    say("status", "Ready. Press Start and allow the camera.");
  } else {
    say("status", "Give the token that visionstack serve or visionstack open prints, then press Start.");
  }
  if (TABS.includes(given.get("tab"))) show(given.get("tab"));
}

for (const [index, name] of TABS.entries()) {
  element(`tab-${name}`).addEventListener("click", () => show(name));
  element(`tab-${name}`).addEventListener("keydown", (event) => {
    const to = { ArrowRight: index + 1, ArrowLeft: index - 1, Home: 0, End: TABS.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    const next = TABS[(to + TABS.length) % TABS.length];
    show(next);
    element(`tab-${next}`).focus();
  });
}
setUpDetect();
readAddress();
window.addEventListener("hashchange", readAddress);
document.documentElement.dataset.ready = "yes";
