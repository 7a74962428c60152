// Where pictures come from: camera, screen, or a file.

/** An error whose message tells the reader what to do. */
export class SourceError extends Error {
  /** The device has no camera: another source may do. */
  noCamera = false;
}

const CAMERA_ERRORS = {
  NotAllowedError: "The camera was refused. Allow it for this site in the browser's address bar, "
    + "then press Start again, or choose the sample clip.",
  NotFoundError: "This device has no camera that the browser can see. Connect one, or choose the sample clip.",
  NotReadableError: "Another program is using the camera. Close it and press Start again.",
  OverconstrainedError: "This device has no camera on that side. Choose the other one.",
};

/** Start the source in the video element. `kind`: back, front, screen, file or sample. */
export async function openSource(video, kind, file) {
  closeSource(video);
  if (kind === "file") {
    if (!file) throw new SourceError("Choose a video file first.");
    video.src = URL.createObjectURL(file);
    video.loop = true;
  } else if (kind === "sample") {
    video.src = new URL("sample.mp4", import.meta.url).href;
    video.loop = true;
  } else {
    video.srcObject = await (kind === "screen" ? openScreen() : openCamera(kind));
  }
  try {
    await video.play();
  } catch (error) {
    closeSource(video);
    throw new SourceError(kind === "file"
      ? `This browser cannot play ${file.name}. Choose an MP4 (H.264) or WebM file.`
      : kind === "sample" ? "This browser cannot play H.264, which the sample clip is. Choose a WebM file."
      : `The picture does not start: ${error.message}`);
  }
  // Metadata are there once it plays: a browser plays the sound alone of a format that it lacks.
  if (kind === "file" && !video.videoWidth) {
    closeSource(video);
    throw new SourceError(`This browser plays only the sound of ${file.name}; iPhones film in HEVC, `
      + "which it may lack. Choose an MP4 (H.264) or WebM file, or use visionstack stream.");
  }
}

export function closeSource(video) {
  for (const track of video.srcObject?.getTracks() ?? []) track.stop();
  if (video.src.startsWith("blob:")) URL.revokeObjectURL(video.src);
  video.srcObject = null;
  video.removeAttribute("src");
  video.load();
}

async function openCamera(side) {
  if (!navigator.mediaDevices?.getUserMedia) {
    throw new SourceError("Browsers lend the camera to https pages and to 127.0.0.1 only. "
      + "Open this page by https, or choose the sample clip.");
  }
  try {
    return await navigator.mediaDevices.getUserMedia({ audio: false, video: {
      facingMode: side === "front" ? "user" : "environment",
      width: { ideal: 1280 }, frameRate: { ideal: 30 } } });
  } catch (error) {
    throw Object.assign(
      new SourceError(CAMERA_ERRORS[error.name] ?? `The camera does not start: ${error.message}`),
      { noCamera: error.name === "NotFoundError" });
  }
}

async function openScreen() {
  if (!navigator.mediaDevices?.getDisplayMedia) {
    throw new SourceError("This browser cannot share its screen. Choose the camera or a file.");
  }
  try {
    return await navigator.mediaDevices.getDisplayMedia({ video: { frameRate: 30 }, audio: false });
  } catch {
    throw new SourceError("The screen was not shared. Press Start and pick a window or screen.");
  }
}

/** Call `take(captured)` for each new picture, microseconds of this page's clock. Returns a stop. */
export function eachPicture(video, take) {
  let going = true;
  const camera = video.srcObject !== null;
  const byFrame = "requestVideoFrameCallback" in video;
  let last = -1;
  const next = (now, metadata) => {
    if (!going) return;
    if (byFrame || video.currentTime !== last) {
      last = video.currentTime;
      const seen = camera ? metadata?.captureTime : undefined;
      const present = performance.now();
      // A capture time of another clock would make nonsense of the delay.
      const trusted = seen !== undefined && seen <= present && present - seen < 1000;
      take(Math.round((trusted ? seen : present) * 1000));
    }
    ask();
  };
  const ask = () => (byFrame ? video.requestVideoFrameCallback(next) : requestAnimationFrame(next));
  ask();
  return () => { going = false; };
}
