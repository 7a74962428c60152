// What the tabs share.

export const element = (id) => document.getElementById(id);

const told = document.querySelector('meta[name="stream"]')?.content ?? "";

/** Where the stream server is: this page's own, or the one that CloudFront's page names; null where
 *  that page was given none. */
export const streamServer = told === "none" ? null : new URL(told || ".", document.baseURI);

export function say(id, words, isError = false) {
  element(id).textContent = words;
  element(id).classList.toggle("error", isError);
}
