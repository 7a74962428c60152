// The picture under the boxes: the very one that was answered, held until its answer comes.

const LONGER_SIDE = 1280;
// The most frames under way, and those that an encoder still has.
const MOST_HELD = 12;

/** Copies of the pictures that were sent, by capture time. Canvases are used again. */
export class HeldPictures {
  #held = new Map();
  #free = [];

  /** Copy the video's present picture; where too many wait, the oldest is given up. */
  hold(captured, video) {
    if (this.#held.size >= MOST_HELD) this.#release(this.#held.keys().next().value);
    const canvas = this.#free.pop() ?? document.createElement("canvas");
    const scale = Math.min(1, LONGER_SIDE / Math.max(video.videoWidth, video.videoHeight));
    const [width, height] = [video.videoWidth * scale, video.videoHeight * scale].map(Math.round);
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    canvas.getContext("2d", { alpha: false }).drawImage(video, 0, 0, width, height);
    this.#held.set(captured, canvas);
  }

  /** Draw the picture on the canvas; false when it is not held. Those before it are let go. */
  show(captured, canvas) {
    const picture = this.#held.get(captured);
    if (picture) {
      const { width, height } = picture;
      if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
      canvas.getContext("2d", { alpha: false }).drawImage(picture, 0, 0);
    }
    for (const earlier of [...this.#held.keys()]) if (earlier <= captured) this.#release(earlier);
    return picture !== undefined;
  }

  #release(captured) {
    this.#free.push(this.#held.get(captured));
    this.#held.delete(captured);
  }
}
