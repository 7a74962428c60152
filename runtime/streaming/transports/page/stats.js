// Frames a second, where a frame's time goes, and why frames were not looked at.

const WINDOW = 2_000_000;

export const PARTS = [
  ["encode", "Encode"], ["up", "Uplink"], ["decode", "Decode"], ["queue", "Queue"],
  ["inference", "Inference"], ["post", "Boxes"], ["down", "Downlink"],
];

export const CAUSES = {
  busy: "skipped here: earlier frames still under way",
  encoder: "dropped by this device's encoder",
  newer: "dropped by the server for a newer frame",
  leaving: "dropped by a server that was going away",
  lost: "lost with the connection",
  failed: "failed at the server",
};

export function median(values) {
  if (values.length === 0) return undefined;
  const sorted = [...values].sort((one, other) => one - other);
  const middle = Math.floor(sorted.length / 2);
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

export class Statistics {
  #recent = [];
  drops = Object.fromEntries(Object.keys(CAUSES).map((cause) => [cause, 0]));
  answered = 0;
  bytes = 0;

  result(now, delays, bytes) {
    this.answered += 1;
    this.bytes += bytes;
    this.#recent.push({ now, bytes, ...delays });
  }

  drop(cause, count = 1) { this.drops[cause] += count; }

  /** Frames/s, Mbit/s and medians (ms) of the last two seconds. */
  summary(now) {
    while (this.#recent.length && this.#recent[0].now < now - WINDOW) this.#recent.shift();
    const seconds = this.#recent.length ? Math.max(0.5, (now - this.#recent[0].now) / 1e6) : 1;
    const middle = (name) => median(this.#recent.map((entry) => entry[name] / 1000));
    return { rate: this.#recent.length / seconds, total: middle("total"),
      megabits: this.#recent.reduce((sum, { bytes }) => sum + bytes * 8, 0) / seconds / 1e6,
      link: median(this.#recent.map(({ up, down }) => (up + down) / 1000)),
      parts: PARTS.map(([name, words]) => ({ name, words, ms: middle(name) ?? 0 })) };
  }
}

/** The delay's parts as one bar of proportional segments, with a legend that carries the numbers. */
export function drawChart(element, parts) {
  const sum = parts.reduce((total, { ms }) => total + ms, 0) || 1;
  if (element.childElementCount === 0) {
    const bar = document.createElement("div");
    bar.className = "bar";
    const legend = document.createElement("ul");
    for (const { name, words } of parts) {
      const segment = document.createElement("span");
      segment.className = `part ${name}`;
      bar.append(segment);
      const item = document.createElement("li");
      const mark = document.createElement("i");
      mark.className = `part ${name}`;
      const value = document.createElement("b");
      item.append(mark, words, value);
      legend.append(item);
    }
    element.append(bar, legend);
  }
  const [bar, legend] = element.children;
  parts.forEach(({ ms }, index) => {
    bar.children[index].style.flexGrow = String(ms / sum);
    legend.children[index].lastChild.textContent = ` ${ms.toFixed(1)} ms`;
  });
}
