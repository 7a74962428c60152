// What to send over a link that is too thin: smaller, coarser, then fewer pictures; and back.

/** `side` is the longer side in pixels, `quality` JPEG's, `bits` H.264's per second, `rate` frames/s. */
export const LEVELS = [
  { side: 640, quality: 0.8, bits: 1_800_000, rate: 30 },
  { side: 640, quality: 0.6, bits: 1_000_000, rate: 30 },
  { side: 480, quality: 0.6, bits: 600_000, rate: 30 },
  { side: 416, quality: 0.5, bits: 400_000, rate: 20 },
  { side: 416, quality: 0.45, bits: 250_000, rate: 10 },
  { side: 320, quality: 0.4, bits: 120_000, rate: 5 },
];
const SLOW_LINK = 250;
const SLOW_TIMES = 2;
const FIRST_CALM = 6;
const LONGEST_CALM = 60;

/** Told once a second how the link does; `level` is the index of what to send now. */
export class Adaptation {
  level = 0;
  #slow = 0;
  #calm = 0;
  #wanted = FIRST_CALM;
  #tried = false;

  get now() { return LEVELS[this.level]; }

  /**
   * `link` is the median of a frame's milliseconds on the way there and back beyond a ping's,
   * undefined without an answer; `backlog` whether bytes lay unsent throughout. True: level changed.
   */
  tell({ link, backlog }) {
    const slow = backlog || (link !== undefined && link > SLOW_LINK);
    this.#slow = slow ? this.#slow + 1 : 0;
    this.#calm = slow || link === undefined ? 0 : this.#calm + 1;
    if (this.#slow >= SLOW_TIMES && this.level < LEVELS.length - 1) {
      // A step up that did not hold is tried again after twice the time.
      if (this.#tried) this.#wanted = Math.min(LONGEST_CALM, this.#wanted * 2);
      return this.#go(this.level + 1, false);
    }
    if (this.#calm >= this.#wanted && this.level > 0) return this.#go(this.level - 1, true);
    return false;
  }

  #go(level, tried) {
    this.level = level;
    this.#tried = tried;
    this.#slow = this.#calm = 0;
    return true;
  }

  /** What it does about the link, in words; empty when nothing. */
  get words() {
    if (this.level === 0) return "";
    const { side, rate } = this.now;
    return `Slow link: pictures of ${side} pixels at lower quality`
      + (rate < LEVELS[0].rate ? `, ${rate} a second at most.` : ".");
  }
}

const MOST_IN_FLIGHT = 8;

/**
 * How many frames to have under way, from how it went with `now`: fewer when they only wait in the
 * server's queue, down to one beside a busy server that is near; more when a long link and not the
 * server holds them. All in milliseconds.
 */
export function framesInFlight(now, { queue, inference, total, link, window }) {
  if (total === undefined) return now;
  const far = link > inference / 4;
  if (queue > Math.max(10, inference / 3)) return Math.max(far ? 2 : 1, now - 1);
  if ((far || now > 1) && total > now * (1000 / LEVELS[0].rate)) {
    return Math.min(MOST_IN_FLIGHT, window, now + 1);
  }
  return now;
}
