// What the tabs share.

export const element = (id) => document.getElementById(id);

export function say(id, words, isError = false) {
  element(id).textContent = words;
  element(id).classList.toggle("error", isError);
}
