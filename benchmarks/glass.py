"""Glass to glass: from a fake camera's frame to the same frame, with its boxes, on the page.

Each frame of the film has its number painted into it, in black and white. A script reads the number
from the camera's picture, whose capture time the browser tells, and again from the picture that the
page has drawn; what lies between is the delay, whatever the page itself believes. Beside it, in
turns, the Python client streams the same frames at the same rate to the same server. The page's
figure ends when the canvas is drawn, and once more with the browser's next picture (`presented`);
the camera's exposure and the screen's own delay are not in it.

Also: how soon the page can be used after it is opened. Needs Chromium.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from itertools import cycle, islice
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np

from benchmarks._inputs import CLIP, Frame, model_folder
from benchmarks._results import Results, table
from runtime.measurement.statistics import percentile
from visionstack.accuracy.inputs import read_clip
from visionstack.server_process import Served, served
from visionstack.stream import StreamClient, StreamResult
from visionstack.stream.sources import SourceFrame, paced

SIZE: Final = (640, 480)
FRAMES: Final = 128
BITS: Final = 7
"""Of the number; a white and a black field before them say what is which."""
BAND: Final = 32
RATES: Final = (30, 10)
TARGET_MS: Final = 25.0
SETTLE_SECONDS: Final = 3.0

WATCH: Final = """([bits, band]) => {
  const video = document.querySelector("video"), picture = document.getElementById("picture");
  const small = document.createElement("canvas");
  Object.assign(small, { width: 640, height: band });
  const pen = small.getContext("2d", { willReadFrequently: true, alpha: false });
  const read = (source, width, height) => {
    if (!width) return -1;
    // Once: each drawing of a video may turn the whole picture into RGB.
    pen.drawImage(source, 0, 0, width, band * height / 480, 0, 0, 640, band);
    const pixels = pen.getImageData(0, band / 2, 640, 1).data;
    const level = (n) => pixels[4 * Math.floor(640 * (n + 0.5) / (bits + 2)) + 1];
    if (level(0) - level(1) < 80) return -1;
    const middle = (level(0) + level(1)) / 2;
    let number = 0;
    for (let n = 0; n < bits; n += 1) number = number * 2 + (level(n + 2) > middle ? 1 : 0);
    return number;
  };
  const taken = new Map();
  window.glass = { drawn: [], presented: [], unread: 0, clocked: 0, captured: 0 };
  const look = (now, { captureTime }) => {
    const present = performance.now();
    const trusted = captureTime !== undefined && captureTime <= present
      && present - captureTime < 1000;
    window.glass.captured += 1;
    window.glass.clocked += trusted ? 1 : 0;
    taken.set(read(video, video.videoWidth, video.videoHeight), trusted ? captureTime : present);
    video.requestVideoFrameCallback(look);
  };
  video.requestVideoFrameCallback(look);
  document.getElementById("overlay").addEventListener("drawn", () => {
    const now = performance.now();
    const from = picture.hidden ? undefined
      : taken.get(read(picture, picture.width, picture.height));
    if (from === undefined || now - from > 3000) { window.glass.unread += 1; return; }
    window.glass.drawn.push(now - from);
    requestAnimationFrame(() => requestAnimationFrame(
      (next) => window.glass.presented.push(next - from)));
  });
}"""


def film() -> list[Frame]:
    """The clip's frames with their numbers, blue first."""
    made = []
    for number, frame in enumerate(islice(read_clip(CLIP), FRAMES)):
        picture = cv2.resize(frame, SIZE)
        fields = [1, 0, *(number >> bit & 1 for bit in reversed(range(BITS)))]
        for place, field in enumerate(fields):
            left, right = (SIZE[0] * (place + n) // len(fields) for n in (0, 1))
            picture[:BAND, left:right] = 235 if field else 16
        made.append(np.asarray(picture, np.uint8))
    return made


def write_film(path: Path, frames: list[Frame], *, rate: int) -> None:
    """As Chromium's fake camera wants it: YUV4MPEG2."""
    height, width = frames[0].shape[:2]
    with path.open("wb") as file:
        file.write(f"YUV4MPEG2 W{width} H{height} F{rate}:1 Ip A1:1 C420\n".encode())
        for frame in frames:
            yuv = cv2.cvtColor(frame, cv2.COLOR_BGR2YUV_I420)
            file.write(b"FRAME\n" + yuv.tobytes())


def flags(clip: Path) -> list[str]:
    """Chromium's, for a camera that shows this film."""
    media = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    return [*media, f"--use-file-for-fake-video-capture={clip}", "--disable-gpu"]


def by_client(address: Served, frames: list[Frame], *, rate: int, seconds: float) -> dict[str, Any]:
    """Capture to result of the Python client, in milliseconds."""
    count = int((SETTLE_SECONDS + seconds) * rate)
    source = paced((SourceFrame("", one) for one in islice(cycle(frames), count)), rate)
    found: list[float] = []
    with StreamClient(address, policy="live") as client:
        began = time.monotonic()
        for answer in client.stream(frame.picture for frame in source):
            if isinstance(answer, StreamResult) and time.monotonic() - began > SETTLE_SECONDS:
                found.append(answer.latency.total)
    return {"milliseconds": found, "frames_per_second": len(found) / seconds}


async def by_page(page_address: str, clip: Path, *, seconds: float) -> dict[str, Any]:
    """What the page shows, read back from it."""
    from playwright.async_api import async_playwright

    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        raise RuntimeError("there is no Chromium on this machine (apt-get install chromium)")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program, args=flags(clip))
        page = await browser.new_page(viewport={"width": 1180, "height": 760})
        await page.goto(page_address)
        await page.wait_for_selector("html[data-ready]")
        interactive = await page.evaluate("performance.now()")
        await page.click("#start")
        await page.wait_for_selector("#figures:not([hidden])")
        await asyncio.sleep(SETTLE_SECONDS)
        await page.evaluate(WATCH, [BITS, BAND])
        await asyncio.sleep(seconds)
        found: dict[str, Any] = await page.evaluate("window.glass")
        how = await page.inner_text("#how")
        await browser.close()
    return {
        "milliseconds": found["drawn"],
        "presented_ms": found["presented"],
        "frames_per_second": len(found["drawn"]) / seconds,
        "unread": found["unread"],
        "capture_times_told_by_the_browser": found["clocked"] / max(1, found["captured"]),
        "interactive_ms": interactive,
        "how": how,
    }


def main(out: Path, quick: bool) -> None:
    """Write glass.json."""
    results = Results(out / "glass.json", title="Glass to glass", quick=quick)
    rounds, seconds = (1, 5.0) if quick else (3, 15.0)
    frames = film()
    rows: list[dict[str, Any]] = []
    results.values |= {"target_ms": TARGET_MS, "rows": rows}
    with tempfile.TemporaryDirectory() as folder, served(model_folder()) as server:
        for rate in RATES:
            clip = Path(folder) / f"{rate}.y4m"
            write_film(clip, frames, rate=rate)
            for number in range(rounds):
                client = by_client(server, frames, rate=rate, seconds=seconds)
                shown = asyncio.run(by_page(server.page, clip, seconds=seconds))
                rows.append({"rate": rate, "round": number, "client": client, "page": shown})
                results.save()
    print(table([_row(rate, rows) for rate in RATES]))
    soonest = [row["page"]["interactive_ms"] for row in rows]
    print(f"page interactive after {min(soonest):.0f} to {max(soonest):.0f} ms")


def _row(rate: int, rows: list[dict[str, Any]]) -> dict[str, Any]:
    mine = [row for row in rows if row["rate"] == rate]

    def all_of(side: str, what: str) -> list[float]:
        return [value for row in mine for value in row[side][what]]

    def p50(values: list[float]) -> float:
        return percentile(values, 50) if values else float("nan")

    by_round = [
        p50(row["page"]["milliseconds"]) - p50(row["client"]["milliseconds"]) for row in mine
    ]
    page = all_of("page", "milliseconds")
    return {
        "camera frames/s": rate,
        "client p50 ms": p50(all_of("client", "milliseconds")),
        "page p50 ms": p50(page),
        "page p99 ms": percentile(page, 99) if page else float("nan"),
        "presented p50 ms": p50(all_of("page", "presented_ms")),
        "page minus client ms": float(np.median(by_round)),
        "by round ms": ", ".join(f"{one:.1f}" for one in by_round),
        "client frames/s": float(np.mean([row["client"]["frames_per_second"] for row in mine])),
        "page frames/s": float(np.mean([row["page"]["frames_per_second"] for row in mine])),
    }
