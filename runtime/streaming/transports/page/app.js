// Tabs, and what the address brings: #token=… &api=… &key=…, taken out of the address at once.

import { setUpClassify } from "./classify.js";
import { setUpDetect } from "./detect.js";
import { setUpDevice } from "./device.js";
import { element, say } from "./page.js";

const TABS = ["detect", "classify", "device"];
const GIVEN = ["token", "api", "key"];

function show(name) {
  for (const tab of TABS) {
    const chosen = tab === name;
    element(tab).hidden = !chosen;
    element(`tab-${tab}`).setAttribute("aria-selected", String(chosen));
    element(`tab-${tab}`).tabIndex = chosen ? 0 : -1;
  }
}

/** In this tab, until it is closed: phones load the page anew when one comes back to it. A browser
 *  may keep nothing. */
function keep(name, value) {
  try { sessionStorage.setItem(name, value); } catch { /* Then it is given again. */ }
}

function kept(name) {
  try { return sessionStorage.getItem(name); } catch { return null; }
}

function readAddress() {
  const given = new URLSearchParams(location.hash.slice(1));
  if ([...given.keys()].some((name) => GIVEN.includes(name))) {
    history.replaceState(null, "", location.pathname + location.search);
  }
  for (const name of GIVEN) {
    if (given.get(name)) keep(name, given.get(name));
    element(name).value = given.get(name) || kept(name) || element(name).value;
  }
  if (element("api").value) say("classify-status", "Take or choose a photo.");
  if (element("token").value) {
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
for (const name of GIVEN) {
  element(name).addEventListener("change", () => keep(name, element(name).value));
}
readAddress();
// A photo that was chosen meanwhile is sent at once, with what the address brought.
setUpDetect();
setUpClassify();
setUpDevice();
window.addEventListener("hashchange", readAddress);
document.documentElement.dataset.ready = "yes";
