// What the tabs share.

export const element = (id) => document.getElementById(id);

const told = document.querySelector('meta[name="stream"]')?.content ?? "";

/** Where the stream server is: this page's own, or the one that CloudFront's page names; null where
 *  that page was given none. */
export const streamServer = told === "none" ? null : new URL(told || ".", document.baseURI);

/** `use(file)` for what is chosen, and for what was chosen while the page's code was on its way. */
export function onFile(id, use) {
  const input = element(id);
  const take = () => { if (input.files.length) use(input.files[0]); };
  input.addEventListener("change", take);
  take();
}

export function say(id, words, isError = false) {
  element(id).textContent = words;
  element(id).classList.toggle("error", isError);
}
