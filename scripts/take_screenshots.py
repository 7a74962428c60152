"""Pictures in docs/images: boxes.webp (moving), page.webp, page-phone.webp, report.webp.

A real server with yolov3-tiny, and Chromium whose camera is the sample clip: `apt-get install
chromium`, then `python scripts/take_screenshots.py [NAME]...`, names without `.webp`. The report is
that of a comparison of this machine's engines, measured for it.
"""

from __future__ import annotations

import asyncio
import io
import shutil
import subprocess
import sys
import tempfile
from itertools import islice
from pathlib import Path

from PIL import Image
from playwright.async_api import Page, async_playwright

from benchmarks._inputs import CLIP
from benchmarks.glass import flags, write_film
from visionstack.accuracy.inputs import read_clip
from visionstack.models.named import find_model
from visionstack.server_process import Served, served

CHECKOUT = Path(__file__).resolve().parent.parent
IMAGES = CHECKOUT / "docs" / "images"
SHOTS = {"page": ((1180, 760), "dark"), "page-phone": ((390, 844), "light")}
CAMERA_RATE = 2
"""Frames a second: slow enough for boxes not to lag behind the picture on a busy machine."""
CAMERA_FRAMES = 40
SECONDS = 10
CLIP_RATE = 10
MOVING_WIDTH = 480
NAMES = ("boxes", *SHOTS, "report")
COMMAND = [sys.executable, "-m", "visionstack.cli.main"]


def boxes(server: Served, folder: Path) -> None:
    """Ten seconds of the clip with the boxes that `visionstack stream` was sent."""
    drawn = folder / "drawn"
    address = f"{server.host}:{server.port}"
    stream = ["stream", str(CLIP), "--connect", address, "--token", server.token, "--track"]
    limit = ["--limit", str(SECONDS * CLIP_RATE)]
    subprocess.run([*COMMAND, *stream, *limit, "--save", str(drawn)], check=True)
    frames = []
    for path in sorted(drawn.iterdir()):
        with Image.open(path) as picture:
            height = round(picture.height * MOVING_WIDTH / picture.width)
            frames.append(picture.convert("RGB").resize((MOVING_WIDTH, height)))
    frames[0].save(
        IMAGES / "boxes.webp",
        save_all=True,
        append_images=frames[1:],
        duration=1000 // CLIP_RATE,
        loop=0,
        quality=45,
        method=6,
    )


async def shoot(page: Page, name: str) -> None:
    picture = Image.open(io.BytesIO(await page.screenshot())).convert("RGB")
    picture.save(IMAGES / f"{name}.webp", quality=82)


async def browse(names: set[str], server: Served, clip: Path, report: Path | None) -> None:
    """One picture for each name."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=flags(clip)
        )
        for name, ((width, height), scheme) in SHOTS.items():
            if name not in names:
                continue
            context = await browser.new_context(
                viewport={"width": width, "height": height},
                color_scheme=scheme,  # type: ignore[arg-type]
            )
            page = await context.new_page()
            await page.goto(server.page)
            await page.get_by_role("button", name="Start").first.click()
            await asyncio.sleep(SECONDS)
            await shoot(page, name)
            await context.close()
        if report is not None:
            context = await browser.new_context(viewport={"width": 1180, "height": 900})
            page = await context.new_page()
            await page.goto(report.as_uri())
            await shoot(page, "report")
        await browser.close()


def measured(folder: Path) -> Path:
    """The report of a short comparison on this machine."""
    engines = ["--engine", "openvino", "--engine", "onnxruntime"]
    run = ["compare", "run", "--local", "--seconds", "3", "--usd-per-hour", "0.1785", *engines]
    subprocess.run([*COMMAND, *run, "--out", str(folder)], check=True)
    return folder / "report.html"


def main() -> None:
    """Take the pictures that were named, or all."""
    names = set(sys.argv[1:] or NAMES)
    if unknown := names - set(NAMES):
        sys.exit(f"There is no {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}.")
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        report = measured(folder / "compare") if "report" in names else None
        clip = folder / "clip.y4m"
        write_film(clip, list(islice(read_clip(CLIP), CAMERA_FRAMES)), rate=CAMERA_RATE)
        with served(find_model("yolov3-tiny")().folder) as server:
            if "boxes" in names:
                boxes(server, folder)
            asyncio.run(browse(names, server, clip, report))


if __name__ == "__main__":
    main()
