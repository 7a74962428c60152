"""Detect, in a real browser whose camera is the sample clip."""

from __future__ import annotations

import asyncio
import wave
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from playwright.async_api import Page

from runtime.protocol.messages import Encoding, Frame
from runtime.streaming.server import Server
from tests.browser.conftest import Browser, address, frames_of_clip, until
from tests.unit.streaming.conftest import TOKEN, make_server
from visionstack.stream import StreamAddress, StreamClient
from visionstack.stream.pictures import EncodedPicture

COLLECT = """() => {
  window.drawn = [];
  const overlay = document.getElementById("overlay");
  overlay.addEventListener("drawn", ({ detail }) => window.drawn.push({ ...detail,
    width: overlay.clientWidth, height: overlay.clientHeight }));
}"""


def iou(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Intersection over union of two boxes x1 y1 x2 y2."""
    low, high = np.maximum(one[:2], other[:2]), np.minimum(one[2:], other[2:])
    shared = float(np.prod(np.maximum(high - low, 0)))
    areas = [float(np.prod(box[2:] - box[:2])) for box in (one, other)]
    return shared / (sum(areas) - shared)


def lossless(picture: NDArray[np.uint8]) -> bytes:
    """The picture as PNG."""
    good, data = cv2.imencode(".png", picture)
    assert good
    return bytes(data)


def watch_frames(page: Page) -> list[Frame]:
    """The frames that the page sends from now on."""
    sent: list[Frame] = []

    def look(payload: Any) -> None:
        if isinstance(payload, bytes) and payload[:1] == b"\x10":
            sent.append(Frame.decode(payload))

    page.on("websocket", lambda socket: socket.on("framesent", look))
    return sent


def pictures(frames: list[Frame]) -> dict[int, NDArray[np.uint8]]:
    """What the page sent, as the server sees it."""
    if frames[0].encoding is Encoding.JPEG:
        return {
            frame.sequence: cv2.imdecode(np.frombuffer(frame.payload, np.uint8), cv2.IMREAD_COLOR)
            for frame in frames
        }
    decoder = av.CodecContext.create("h264", "r")
    decoder.flags |= 0x80000  # low delay: a picture for each unit at once
    found = []
    for frame in frames:
        found += decoder.decode(av.Packet(frame.payload))
    found += decoder.decode(None)
    assert len(found) == len(frames)
    return {
        frame.sequence: one.to_ndarray(format="bgr24")
        for frame, one in zip(frames, found, strict=True)
    }


async def open_page(page: Page, server: Server, **more: str) -> None:
    await page.goto(address(server, **more))
    await page.wait_for_selector("html[data-ready]")
    await page.evaluate(COLLECT)


@pytest.mark.parametrize("encoding", ["h264", "jpeg"])
async def test_the_boxes_on_the_page_are_those_of_the_python_client(
    browser: Browser, detector: Server, encoding: str
) -> None:
    async with browser() as page:
        sent = watch_frames(page)
        await open_page(page, detector)
        assert "token" not in page.url
        if encoding == "h264" and not await page.evaluate(
            "import('./encoders.js').then((module) => module.hasH264())"
        ):
            pytest.skip("this Chromium has no H.264 encoder")
        await page.evaluate(f"document.getElementById('encoding').value = '{encoding}'")
        await page.click("#start")
        await until(page, "window.drawn.length >= 12")
        drawn = await page.evaluate("window.drawn")
        await page.click("#start")
    assert sent[0].encoding is (Encoding.H264 if encoding == "h264" else Encoding.JPEG)
    seen = pictures(sent)
    originals = [frame.to_ndarray(format="bgr24") for frame in frames_of_clip()]
    endpoint = StreamAddress("127.0.0.1", detector.port, TOKEN)

    def ask() -> tuple[list[Any], list[Any]]:
        height, width = next(iter(seen.values())).shape[:2]
        own = [cv2.resize(one, (width, height), interpolation=cv2.INTER_AREA) for one in originals]
        small = [cv2.resize(one, (64, 48)).astype(float) for one in own]
        units = [EncodedPicture(frame.encoding, frame.payload) for frame in sent]
        with StreamClient(endpoint, policy="lossless") as client:
            answers = dict(zip(seen, client.stream(units), strict=True))
            clip = []
            for one in drawn:
                there = cv2.resize(seen[one["sequence"]], (64, 48)).astype(float)
                near = min(range(len(small)), key=lambda n: float(((small[n] - there) ** 2).sum()))
                clip += list(client.stream([lossless(own[near])]))
        return [answers[one["sequence"]] for one in drawn], clip

    same, clip = await asyncio.to_thread(ask)
    exact, original = [], []
    for page_side, same_answer, clip_answer in zip(drawn, same, clip, strict=True):
        scale = np.array([page_side["width"], page_side["height"]] * 2) / np.array(
            [same_answer.width, same_answer.height] * 2
        )
        boxes = [np.array(box) for box in page_side["boxes"]]
        for answer, into in ((same_answer, exact), (clip_answer, original)):
            for one in answer.detections:
                into.append(max((iou(np.array(one.box) * scale, box) for box in boxes), default=0))
    assert len(exact) > 30
    print(encoding, "same frames", min(exact), "clip's frames, median", np.median(original))
    assert min(exact) >= 0.9
    # The page's encoder stood between the clip and the network: small boxes may come and go.
    assert np.median(original) >= 0.9


@pytest.fixture
async def fake(tmp_path: Path) -> Any:
    server = make_server(tmp_path)
    await server.start()
    yield server
    await server.stop()


async def test_it_connects_again_when_the_server_was_killed(
    browser: Browser, tmp_path: Path
) -> None:
    first = make_server(tmp_path)
    await first.start()
    port = first.http_port
    async with browser() as page:
        await open_page(page, first)
        await page.click("#start")
        await until(page, "window.drawn.length >= 3")
        await first.stop()
        await until(page, "document.getElementById('status').textContent.includes('Trying again')")
        second = make_server(tmp_path, http_port=port)
        await second.start()
        await page.evaluate("window.drawn.length = 0")
        await until(page, "window.drawn.length >= 3")
        assert "Live" in await page.inner_text("#status")
        failed = second.metrics.answers.labels("fake", "failed")._value.get()
        await page.click("#start")
        await second.stop()
    # The first unit on the new connection was a key frame.
    assert failed == 0


async def test_a_wrong_token_is_told_with_what_to_do(browser: Browser, fake: Server) -> None:
    async with browser() as page:
        await open_page(page, fake, token="wrong")
        await page.click("#start")
        await until(
            page, "document.getElementById('status').textContent.includes('not this server')"
        )
        assert "visionstack serve" in await page.inner_text("#status")
        assert await page.is_visible("#token")
        assert await page.inner_text("#start") == "Start"


async def test_a_page_that_is_loaded_anew_still_has_its_token_and_another_tab_has_none(
    browser: Browser, fake: Server
) -> None:
    async with browser() as page:
        await open_page(page, fake)
        assert TOKEN not in page.url
        await page.reload()
        await page.wait_for_selector("html[data-ready]")
        assert not await page.is_visible("#token")
        await page.click("#start")
        await until(page, "document.getElementById('start').textContent === 'Stop'")
        other = await page.context.new_page()
        await other.goto(page.url)
        await other.wait_for_selector("html[data-ready]")
        assert await other.is_visible("#token")
        assert await other.input_value("#token") == ""


async def test_a_refused_camera_is_told_with_what_to_do(browser: Browser, fake: Server) -> None:
    async with browser(camera=False) as page:
        await open_page(page, fake)
        await page.click("#start")
        await until(
            page, "document.getElementById('status').textContent.includes('camera was refused')"
        )
        assert "Allow it" in await page.inner_text("#status")


async def test_a_video_of_which_only_the_sound_plays_is_told(
    browser: Browser, fake: Server, tmp_path: Path
) -> None:
    # What Chromium makes of an iPhone's HEVC where it has no decoder for it.
    film = tmp_path / "IMG_0001.MOV"
    with wave.open(str(film), "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", ""))
        sound.writeframes(bytes(80_000))
    async with browser() as page:
        await open_page(page, fake)
        await page.select_option("#source", "file")
        await page.set_input_files("#file", film)
        await page.click("#start")
        await until(
            page, "document.getElementById('status').textContent.includes('only the sound')"
        )
        assert "IMG_0001.MOV" in await page.inner_text("#status")
        assert await page.inner_text("#start") == "Start"


async def test_a_file_is_streamed_and_a_snapshot_saved(
    browser: Browser, fake: Server, tmp_path: Path
) -> None:
    film = tmp_path / "film.webm"
    with av.open(str(film), "w") as container:
        track = container.add_stream("libvpx", rate=10)
        track.width, track.height, track.pix_fmt = 320, 240, "yuv420p"
        for frame in frames_of_clip(20):
            picture = frame.reformat(320, 240, "yuv420p")
            picture.pts = None
            container.mux(track.encode(picture))
        container.mux(track.encode(None))
    async with browser() as page:
        await open_page(page, fake)
        await page.select_option("#source", "file")
        await page.set_input_files("#file", film)
        await page.click("#start")
        await until(page, "window.drawn.length >= 3")
        async with page.expect_download() as downloading:
            await page.click("#snapshot")
        path = tmp_path / "snapshot.png"
        await (await downloading.value).save_as(path)
    saved = cv2.imread(str(path))
    assert saved.shape == (240, 320, 3)


async def test_a_thin_link_is_met_with_less_and_said(browser: Browser, fake: Server) -> None:
    async with browser() as page:
        await open_page(page, fake)
        await page.select_option("#encoding", "jpeg")
        devtools = await page.context.new_cdp_session(page)
        # Chromium's throttle leaves WebSockets alone: their way is delayed in the page itself.
        await page.evaluate(
            """() => { const send = WebSocket.prototype.send;
              WebSocket.prototype.send = function (data) {
                if (data.length < 1000) { send.call(this, data); return; }
                setTimeout(() => this.readyState === 1 && send.call(this, data), 600); }; }"""
        )
        await devtools.detach()
        await page.click("#start")
        await until(page, "document.getElementById('status').textContent.includes('Slow link')")
        await page.click("#start")
