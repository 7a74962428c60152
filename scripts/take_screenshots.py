"""Pictures of the page for the documents: docs/images/page.webp and page-phone.webp.

A real server with yolov3-tiny, and Chromium whose camera is the sample clip: `apt-get install
chromium`, then `python scripts/take_screenshots.py`.
"""

from __future__ import annotations

import asyncio
import io
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import av
from PIL import Image
from playwright.async_api import async_playwright

CHECKOUT = Path(__file__).resolve().parent.parent
IMAGES = CHECKOUT / "docs" / "images"
SHOTS = (("page", (1180, 760), "dark"), ("page-phone", (390, 844), "light"))
CAMERA_RATE = 2
"""Frames a second: slow enough for boxes not to lag behind the picture on a busy machine."""
SECONDS = 10


def camera(path: Path, *, frames: int = 40) -> None:
    """The clip as Chromium's fake camera wants it: YUV4MPEG2."""
    with av.open(str(CHECKOUT / "samples" / "pedestrians.avi")) as clip, path.open("wb") as file:
        for number, frame in enumerate(clip.decode(video=0)):
            if number == 0:
                size = f"W{frame.width} H{frame.height}"
                file.write(f"YUV4MPEG2 {size} F{CAMERA_RATE}:1 Ip A1:1 C420\n".encode())
            if number == frames:
                break
            file.write(b"FRAME\n" + frame.reformat(format="yuv420p").to_ndarray().tobytes())


async def shoot(address: str, clip: Path) -> None:
    """One picture for each of SHOTS."""
    flags = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    flags += [f"--use-file-for-fake-video-capture={clip}", "--disable-gpu"]
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=flags
        )
        for name, (width, height), scheme in SHOTS:
            context = await browser.new_context(
                viewport={"width": width, "height": height},
                color_scheme=scheme,  # type: ignore[arg-type]
            )
            page = await context.new_page()
            await page.goto(address)
            await page.get_by_role("button", name="Start").first.click()
            await asyncio.sleep(SECONDS)
            shot = Image.open(io.BytesIO(await page.screenshot())).convert("RGB")
            shot.save(IMAGES / f"{name}.webp", quality=82)
            await context.close()
        await browser.close()


def main() -> None:
    """Serve, and take the pictures."""
    IMAGES.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "visionstack.cli.main", "try", "--no-browser"]
    with tempfile.TemporaryDirectory() as folder:
        clip = Path(folder) / "clip.y4m"
        camera(clip)
        server = subprocess.Popen(
            [*command, "--port", "0", "--http-port", "0"], stdout=subprocess.PIPE, text=True
        )
        try:
            told = server.stdout or ()
            address = next(line[6:].strip() for line in told if line.startswith("page: "))
            asyncio.run(shoot(address, clip))
        finally:
            server.terminate()
            server.wait()


if __name__ == "__main__":
    main()
