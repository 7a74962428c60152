// Pictures to JPEG, away from the thread that draws.

let canvas = null;

self.onmessage = async ({ data: { captured, picture, width, height, quality } }) => {
  canvas ??= new OffscreenCanvas(width, height);
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  canvas.getContext("2d", { alpha: false }).drawImage(picture, 0, 0, width, height);
  picture.close();
  const blob = await canvas.convertToBlob({ type: "image/jpeg", quality });
  const payload = await blob.arrayBuffer();
  self.postMessage({ captured, payload }, [payload]);
};
