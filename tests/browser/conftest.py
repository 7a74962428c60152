"""A real browser whose camera is the sample clip, and servers to open the page of."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import av
import pytest
from playwright.async_api import Page, async_playwright

from runtime.contract import Tls
from runtime.streaming.server import Server
from runtime.streaming.settings import Settings
from tests.unit.streaming.conftest import TOKEN
from visionstack.models.building import build
from visionstack.models.catalog import find_recipe
from visionstack.paths import IMPORT_ROOT, MODELS

CLIP = IMPORT_ROOT / "samples" / "pedestrians.avi"
CLIP_FRAMES = 60
Browser = Callable[..., AbstractAsyncContextManager[Page]]


def frames_of_clip(count: int = CLIP_FRAMES) -> list[av.VideoFrame]:
    """The first frames of the sample clip."""
    with av.open(str(CLIP)) as clip:
        return [frame for frame, _ in zip(clip.decode(video=0), range(count), strict=False)]


def write_film(path: Path, frames: list[av.VideoFrame], *, rate: int) -> Path:
    """The frames as Chromium's fake camera wants them, YUV4MPEG2; `rate` frames a second."""
    with path.open("wb") as file:
        size = f"W{frames[0].width} H{frames[0].height}"
        file.write(f"YUV4MPEG2 {size} F{rate}:1 Ip A1:1 C420\n".encode())
        for frame in frames:
            planes = frame.reformat(format="yuv420p").to_ndarray()
            file.write(b"FRAME\n" + planes.tobytes())
    return path


@pytest.fixture(scope="session")
def camera_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The clip's beginning, as a fake camera."""
    return write_film(tmp_path_factory.mktemp("camera") / "clip.y4m", frames_of_clip(), rate=10)


@pytest.fixture
def browser(camera_file: Path) -> Browser:
    """`async with browser(...) as page:` an empty page of a fresh Chromium."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no Chromium on this machine")

    @asynccontextmanager
    async def launch(
        *,
        camera: bool = True,
        film: Path = camera_file,
        size: tuple[int, int] = (1280, 860),
        scheme: str = "dark",
    ) -> AsyncIterator[Page]:
        flags = ["--use-fake-device-for-media-stream", "--disable-gpu"]
        flags.append(f"--use-file-for-fake-video-capture={film}")
        if camera:
            flags.append("--use-fake-ui-for-media-stream")
        async with async_playwright() as playwright:
            chromium = await playwright.chromium.launch(executable_path=program, args=flags)
            context = await chromium.new_context(
                viewport={"width": size[0], "height": size[1]},
                color_scheme=scheme,  # type: ignore[arg-type]
            )
            page = await context.new_page()
            page.set_default_timeout(30_000)
            faults: list[str] = []
            page.on("pageerror", lambda error: faults.append(str(error)))
            yield page
            await chromium.close()
            assert faults == []

    return launch


@pytest.fixture(scope="session")
def detector_settings() -> dict[str, object]:
    """Settings of a server with the official weights of YOLOv3-tiny."""
    build(find_recipe("yolov3-tiny"), root=MODELS)
    return {
        "models": ("yolov3-tiny",),
        "models_folder": MODELS,
        "tls": Tls.OFF,
        "token": TOKEN,
        "reload_seconds": 0.0,
    }


@pytest.fixture
async def detector(detector_settings: dict[str, object]) -> AsyncIterator[Server]:
    """That server, on free ports of loopback."""
    server = Server(Settings(port=0, http_port=0, **detector_settings))  # type: ignore[arg-type]
    await server.start()
    yield server
    await server.stop()


def address(server: Server, *, token: str = TOKEN, more: str = "") -> str:
    """The page with the token in its fragment."""
    return f"http://127.0.0.1:{server.http_port}/#token={token.replace(' ', '%20')}{more}"


async def until(page: Page, expression: str, *, seconds: float = 60) -> None:
    """Wait for it to be true. Playwright's own waiting evaluates text, which the policy forbids."""
    try:
        async with asyncio.timeout(seconds):
            while not await page.evaluate(expression):
                await asyncio.sleep(0.05)
    except TimeoutError:
        said = await page.locator("[role=status]").all_text_contents()
        raise AssertionError(
            f"not within {seconds:g} s: {expression}; the page says {said}"
        ) from None
