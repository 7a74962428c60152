"""`visionstack stream` against a server with a fake detector, and what it saves and prints."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from runtime.contract import Tls
from tests.unit.streaming.conftest import TOKEN, FakeDetector, FakeSource, make_server
from visionstack.cli.main import app
from visionstack.cli.stream_run import _Watch, parse_address
from visionstack.errors import UsageError
from visionstack.paths import SAMPLES
from visionstack.stream.blocking import StreamClient
from visionstack.stream.client import Patience
from visionstack.stream.errors import StreamUnreachableError
from visionstack.stream.summary import StreamSummary
from visionstack.stream.types import (
    Answer,
    DroppedFrame,
    FailedFrame,
    Latency,
    StreamAddress,
    StreamDetection,
    StreamResult,
)

CLIP = str(SAMPLES / "pedestrians.avi")


@pytest.fixture
def connect(tmp_path: Path) -> Iterator[list[str]]:
    """Options that reach a server on a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    source = FakeSource(FakeDetector(poison=77))
    server = make_server(tmp_path, source=source, tls=Tls.SELF_SIGNED)
    asyncio.run_coroutine_threadsafe(server.start(), loop).result(20)
    yield [
        "--connect",
        f"127.0.0.1:{server.port}",
        "--token",
        TOKEN,
        "--fingerprint",
        str(server.fingerprint),
    ]
    asyncio.run_coroutine_threadsafe(server.stop(), loop).result(20)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def test_each_frame_is_a_line_of_json(connect: list[str]) -> None:
    done = CliRunner().invoke(app, ["stream", CLIP, "--limit", "5", "--json", *connect])
    assert done.exit_code == 0, done.output
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["frame"] for line in lines] == list(range(5))
    for line in lines:
        (found,) = line["detections"]
        assert found["box"] == [0, 0, 768, 576]
        assert found["label"].startswith("grey ")
        parts = line["latency_ms"]
        whole = sum(v for k, v in parts.items() if k not in ("total", "clock_error"))
        assert whole == pytest.approx(parts["total"], abs=0.01)


def test_a_saved_video_has_every_frame_with_its_boxes(connect: list[str], tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out.mp4"
    done = CliRunner().invoke(app, ["stream", CLIP, "--limit", "12", "--save", str(out), *connect])
    assert done.exit_code == 0, done.output
    capture = cv2.VideoCapture(str(out))
    assert int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) == 12
    good, drawn = capture.read()
    assert good
    _, plain = cv2.VideoCapture(CLIP).read()
    assert np.abs(drawn[:3].astype(int) - plain[:3]).mean() > 20
    assert np.abs(drawn[200:400, 200:400].astype(int) - plain[200:400, 200:400]).mean() < 20


def test_one_picture_is_not_what_a_video_is_saved_to(connect: list[str], tmp_path: Path) -> None:
    one = tmp_path / "one.jpg"
    refused = CliRunner().invoke(app, ["stream", CLIP, "--save", str(one), *connect])
    assert isinstance(refused.exception, UsageError)
    assert "--limit 1" in str(refused.exception.remedy)
    assert not one.exists()
    taken = CliRunner().invoke(app, ["stream", CLIP, "--limit", "1", "--save", str(one), *connect])
    assert taken.exit_code == 0, taken.output
    assert one.stat().st_size > 1000


def test_pictures_are_saved_one_by_one_into_a_folder(connect: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "drawn"
    done = CliRunner().invoke(app, ["stream", str(SAMPLES), "--save", str(folder), *connect])
    assert done.exit_code == 0, done.output
    assert sorted(p.name for p in folder.iterdir()) == ["dog.jpg", "horses.jpg", "person.jpg"]


def test_what_is_read_is_not_saved_over(connect: list[str], tmp_path: Path) -> None:
    album, elsewhere = tmp_path / "album", tmp_path / "elsewhere"
    album.mkdir()
    elsewhere.mkdir()
    photo, clip = album / "photo.jpg", album / "clip.avi"
    shutil.copy(SAMPLES / "dog.jpg", photo)
    shutil.copy(CLIP, clip)
    (elsewhere / "link.jpg").symlink_to(photo)
    (album / "clip.mp4").symlink_to(clip)
    before = {path: path.read_bytes() for path in (photo, clip)}
    for source, save in (
        (photo, photo),
        (photo, album),
        (album, album),
        (album, album / "." / "."),
        (elsewhere, album),
        (elsewhere / "link.jpg", photo),
        (clip, album / "clip.mp4"),
    ):
        refused = CliRunner().invoke(app, ["stream", str(source), "--save", str(save), *connect])
        assert isinstance(refused.exception, UsageError), (source, save, refused.output)
        assert "replace" in str(refused.exception)
    assert {path: path.read_bytes() for path in before} == before


def test_pictures_of_one_stem_are_all_saved(connect: list[str], tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for number, name in enumerate(("a.jpg", "a.png", "A.webp", "no #1.jpg")):
        cv2.imwrite(str(pictures / name), np.full((8, 8 + number, 3), 1, np.uint8))
    out = tmp_path / "out"
    done = CliRunner().invoke(app, ["stream", str(pictures), "--save", str(out), *connect])
    assert done.exit_code == 0, done.output
    assert {p.name: cv2.imread(str(p)).shape[1] for p in out.iterdir()} == {
        "A.jpg": 10,
        "a.jpg.jpg": 8,
        "a.png.jpg": 9,
        "no #1.jpg": 11,
    }


def test_a_name_that_is_no_utf8_is_saved_as_it_is(connect: list[str], tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    name = os.fsdecode(b"gr\xfc\xdfe.jpg")
    shutil.copy(SAMPLES / "dog.jpg", pictures / name)
    out = tmp_path / "out"
    command = [sys.executable, "-m", "visionstack.cli", "stream", str(pictures), *connect]
    done = subprocess.run(
        [*command, "--save", str(out), "--json"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["name"] == name
    assert [path.name for path in out.iterdir()] == [name]


def test_a_video_that_ends_early_is_told_of(connect: list[str], tmp_path: Path) -> None:
    cut = tmp_path / "cut.avi"
    cut.write_bytes(Path(CLIP).read_bytes()[:300_000])
    told = CliRunner().invoke(app, ["stream", str(cut), *connect])
    assert "of about 300 frames: it may be cut or damaged" in told.stderr
    limited = CliRunner().invoke(app, ["stream", CLIP, "--limit", "3", *connect])
    assert "cut" not in limited.stderr


def test_a_frame_that_failed_makes_the_exit_code_1(connect: list[str], tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "poison.png"), np.full((8, 8, 3), 77, np.uint8))
    cv2.imwrite(str(tmp_path / "good.png"), np.full((8, 8, 3), 1, np.uint8))
    done = CliRunner().invoke(app, ["stream", str(tmp_path), "--json", *connect])
    assert done.exit_code == 1
    good, failed = (json.loads(line) for line in done.stdout.splitlines())
    assert good["detections"]
    assert failed["error"]["code"] == "engine_failed"


@pytest.mark.parametrize("as_json", [True, False])
def test_a_file_that_is_no_picture_fails_alone(
    connect: list[str], tmp_path: Path, as_json: bool
) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.full((8, 8, 3), 1, np.uint8))
    (tmp_path / "b.jpg").write_text("no picture", encoding="utf-8")
    cv2.imwrite(str(tmp_path / "c.png"), np.full((8, 8, 3), 2, np.uint8))
    options = ["--json"] if as_json else []
    done = CliRunner().invoke(app, ["stream", str(tmp_path), *options, *connect])
    assert done.exit_code == 1
    assert "2 results, 0 dropped, 1 failed" in done.stderr
    if as_json:
        lines = {line["name"]: line for line in map(json.loads, done.stdout.splitlines())}
        assert sorted(lines) == ["a.png", "b.jpg", "c.png"]
        assert lines["b.jpg"]["error"]["code"] == "unreadable"
        assert lines["c.png"]["detections"]
    else:
        assert "b.jpg: not a JPEG, PNG or WebP picture." in done.stderr


@pytest.mark.parametrize(
    "address", ["7443", "host:", ":7443", "host:port", "host:70000", "http://host:7443"]
)
def test_an_address_that_is_none_is_wrong_usage(address: str) -> None:
    with pytest.raises(UsageError, match="host:port"):
        parse_address(address, token="t", fingerprint=None)


def test_without_a_token_the_way_to_one_is_told() -> None:
    with pytest.raises(UsageError, match="token"):
        parse_address("127.0.0.1:7443", token=None, fingerprint=None)


def test_a_key_interval_without_tracking_is_wrong_usage() -> None:
    done = CliRunner().invoke(app, ["stream", CLIP, "--key-interval", "3"])
    assert isinstance(done.exception, UsageError)


def test_an_interrupted_stream_tells_what_it_was_until_then(
    connect: list[str], tmp_path: Path
) -> None:
    saved = tmp_path / "until_then.mp4"
    # A test run in a shell's background has interrupts ignored, and hands that down.
    program = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from visionstack.cli.main import main; main()"
    )
    with subprocess.Popen(
        [
            *(sys.executable, "-c", program, "stream", CLIP, "--policy", "live"),
            *("--json", "--save", str(saved), *connect),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as streaming:
        assert streaming.stdout is not None
        for _ in range(5):
            streaming.stdout.readline()
        streaming.send_signal(signal.SIGINT)
        _, told = streaming.communicate(timeout=30)
    assert streaming.returncode == 130
    assert " results, " in told
    assert "p50" in told
    assert "Traceback" not in told
    assert int(cv2.VideoCapture(str(saved)).get(cv2.CAP_PROP_FRAME_COUNT)) >= 4


def test_a_stream_whose_server_is_gone_tells_what_it_was_until_then(
    connect: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered = StreamClient.stream

    def cut_short(self: StreamClient, *given: Any, **options: Any) -> Iterator[Answer]:
        yield from islice(answered(self, *given, **options), 7)
        raise StreamUnreachableError("No stream server answers.")

    monkeypatch.setattr(StreamClient, "stream", cut_short)
    saved = tmp_path / "until_then.mp4"
    done = CliRunner().invoke(app, ["stream", CLIP, "--save", str(saved), *connect])
    assert isinstance(done.exception, StreamUnreachableError)
    assert "7 results, 0 dropped, 0 failed" in done.stderr
    assert f"saved: {saved}" in done.stderr
    assert int(cv2.VideoCapture(str(saved)).get(cv2.CAP_PROP_FRAME_COUNT)) == 7


def test_where_there_is_no_screen_that_is_said_and_the_stream_goes_on(
    connect: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if sys.platform in {"darwin", "win32"}:
        pytest.skip("there is always a screen")
    monkeypatch.delenv("DISPLAY", raising=False)
    done = CliRunner().invoke(app, ["stream", CLIP, "--limit", "3", "--show", *connect])
    assert done.exit_code == 0, done.output
    assert "No window can be opened here" in done.stderr
    assert "3 results" in done.stderr


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An X server without a monitor."""
    pytest.importorskip("tkinter")
    program = shutil.which("Xvfb")
    if program is None:
        pytest.skip("no Xvfb on this machine")
    read, write = os.pipe()
    command = [program, "-displayfd", str(write), "-screen", "0", "1024x800x24"]
    with subprocess.Popen([*command, "-nolisten", "tcp"], pass_fds=[write]) as server:
        os.close(write)
        with os.fdopen(read) as told:
            display = f":{told.readline().strip()}"
        monkeypatch.setenv("DISPLAY", display)
        yield display
        server.terminate()


def test_the_window_shows_the_pictures_with_boxes_and_ends_the_stream_when_closed(
    screen: str,
) -> None:
    from visionstack.stream.errors import WindowClosedError
    from visionstack.stream.saving import draw
    from visionstack.stream.window import Window

    picture = np.full((120, 160, 3), (200, 120, 40), np.uint8)
    found = StreamDetection("person", 0, 0.9, (20, 40, 90, 110))
    window = Window("test")
    latency = Latency(1, 0, 0, 0, 0, 0, 0, 0)
    window.show(picture, StreamResult(0, 160, 120, (found,), latency, 1, False, False, 0, "1"))
    image = window._image
    assert (image.width(), image.height()) == (160, 120)  # type: ignore[attr-defined]
    blue, green, red = draw(picture, (found,))[40, 60].tolist()
    assert image.get(60, 40) == (red, green, blue)  # type: ignore[attr-defined]
    assert (blue, green, red) != (200, 120, 40), "the box is drawn there"
    # Without a window manager nobody gives it the keyboard.
    window._root.focus_force()
    window.pump()
    window._root.event_generate("<Escape>")
    with pytest.raises(WindowClosedError):
        window.pump()


async def test_the_line_under_way_tells_of_a_lost_connection_while_nothing_is_answered(
    tmp_path: Path,
) -> None:
    server = make_server(tmp_path)
    await server.start()
    address = StreamAddress("127.0.0.1", server.port, TOKEN)
    patience = Patience(first_delay=0.01, longest_delay=0.05)
    client = await asyncio.to_thread(StreamClient(address, patience=patience).__enter__)
    summary = StreamSummary()
    watch = _Watch("camera 0", summary, client)
    try:
        assert watch.line() == "camera 0, 0 dropped"
        await server.stop()
        async with asyncio.timeout(60):
            while "no connection for" not in (told := watch.line()):
                await asyncio.sleep(0.02)
        assert "trying again" in told
    finally:
        await asyncio.to_thread(client.close)


def test_without_a_result_no_speed_and_no_latency_are_told(
    connect: list[str], tmp_path: Path
) -> None:
    cv2.imwrite(str(tmp_path / "poison.png"), np.full((8, 8, 3), 77, np.uint8))
    done = CliRunner().invoke(app, ["stream", str(tmp_path), *connect])
    assert done.exit_code == 1
    assert "0 results, 0 dropped, 1 failed\n" in done.stderr
    assert "No frame was answered with a result." in done.stderr
    assert "p50" not in done.stderr
    assert "frames/s" not in done.stderr


def test_one_result_has_a_latency_and_no_rate(connect: list[str], tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "good.png"), np.full((8, 8, 3), 1, np.uint8))
    done = CliRunner().invoke(app, ["stream", str(tmp_path), *connect])
    assert done.exit_code == 0, done.output
    assert "1 result, 0 dropped, 0 failed; capture to result p50 " in done.stderr
    assert "frames/s" not in done.stderr


def test_answers_that_come_together_have_no_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([10.0, 10.001, 10.002])
    monkeypatch.setattr("visionstack.stream.summary.time.monotonic", lambda: next(clock))
    summary = StreamSummary()
    for _ in range(3):
        latency = Latency(300, 0, 0, 0, 0, 0, 0, 0)
        summary.add(StreamResult(0, 1, 1, (), latency, 1, False, False, 0, "1"))
    assert summary.fps is None


def test_a_summary_counts_drops_by_place_and_rates_results_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = iter([10.0, 10.5, 11.0, 11.5, 12.0, 13.0, 14.0])
    monkeypatch.setattr("visionstack.stream.summary.time.monotonic", lambda: next(clock))
    summary = StreamSummary()
    assert summary.fps is None
    for milliseconds in (40.0, 10.0, 30.0, 20.0):
        latency = Latency(milliseconds, 0, 0, 0, 0, 0, 0, 0)
        summary.add(StreamResult(0, 1, 1, (), latency, 1, False, False, 0, "1"))
    assert summary.fps == 2
    summary.add(DroppedFrame(101, "client"))
    summary.add(DroppedFrame(102, "server"))
    summary.add(FailedFrame(103, "undecodable", "no"))
    assert summary.fps == 0.75
    assert (summary.results, summary.failed, summary.dropped.total()) == (4, 1, 2)
    assert summary.dropped == {"client": 1, "server": 1}
    assert summary.recent("total") == 25
