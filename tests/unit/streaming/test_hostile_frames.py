"""Frames made to cost much: refused, put off or bounded, and others are answered meanwhile."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import weakref
from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
import pytest

from runtime.protocol.errors import FrameError, FrameErrorCode
from runtime.protocol.limits import Limits
from runtime.protocol.messages import Encoding, Frame
from runtime.streaming.errors import MemoryNeededError
from runtime.streaming.frames import pipeline as pipeline_module
from runtime.streaming.frames.frame import Found, FrameJob
from runtime.streaming.frames.h264 import BadParameterSetError, picture_buffers
from runtime.streaming.frames.pipeline import Pipeline
from runtime.streaming.frames.scheduler import Decode, Scheduler
from runtime.streaming.frames.video import VideoDecoder
from runtime.streaming.memory import MemoryBudget
from runtime.streaming.models import LoadedModel, ModelHost
from tests.hostile import deep_png, many_scans, video_units
from tests.unit.streaming.conftest import (
    FakeDetector,
    FakeSource,
    ServerFactory,
    make_session,
    offer,
    picture,
)
from visionstack.paths import IMPORT_ROOT
from visionstack.stream.client import AsyncStreamClient
from visionstack.stream.types import FailedFrame, StreamResult


class Observer:
    def batch_inferred(self, *, model: str, frames: int, microseconds: int) -> None: ...


class Settled:
    """Collects outcomes; holds no frame."""

    def __init__(self) -> None:
        self.outcomes: list[object] = []

    def __call__(self, jobs: Sequence[FrameJob]) -> None:
        self.outcomes += [job.outcome for job in jobs]

    def wait(self, count: int) -> None:
        until = time.monotonic() + 60
        while len(self.outcomes) < count and time.monotonic() < until:
            time.sleep(0.005)
        assert len(self.outcomes) == count


def make_pipeline(done: Settled, *, limits: Limits | None = None, threads: int = 1) -> Pipeline:
    pipeline = Pipeline(
        done=done, observer=Observer(), frame_pixels=10**7, threads=threads, limits=limits
    )
    pipeline.start()
    return pipeline


@pytest.mark.parametrize(("width", "height", "references"), [(640, 480, 1), (1920, 1080, 4)])
def test_a_parameter_set_says_what_the_decoder_has_to_keep(
    width: int, height: int, references: int
) -> None:
    unit = next(video_units(width=width, height=height, references=references, count=1))
    (asked,) = picture_buffers(unit)
    rows = -(-height // 16) * 16
    assert (asked.width, asked.height, asked.references) == (width, rows, references)
    assert asked.picture_bytes == width * rows * 3 // 2


@pytest.mark.parametrize("data", [b"", b"\x64", b"\x64\0\x0a" + b"\0" * 40, b"\x42\0\x0a\xff"])
def test_a_damaged_parameter_set_is_an_error(data: bytes) -> None:
    with pytest.raises(BadParameterSetError):
        list(picture_buffers(b"\0\0\1\x67" + data))


def test_many_large_reference_pictures_are_refused_before_the_decoder_sees_them() -> None:
    units = list(video_units(width=2048, height=2048, references=16, count=2))
    decoder = VideoDecoder(pixels=50_000_000)
    for unit in units:
        with pytest.raises(FrameError, match="fewer references") as refused:
            decoder.decode(unit)
        assert refused.value.code is FrameErrorCode.TOO_MANY_PIXELS
    # The stream may go on with less.
    unit = next(video_units(width=64, height=64, references=1, count=1))
    assert decoder.decode(unit).shape == (64, 64, 3)


def test_a_small_parameter_set_beside_a_large_one_does_not_let_it_pass() -> None:
    large = next(video_units(width=2048, height=2048, references=16, count=1))
    small = next(video_units(width=64, height=64, references=1, count=1, options="sps-id=1"))
    set_of_small = small[small.index(b"\0\0\1\x67") : small.index(b"\0\0\1\x68")]
    at = large.index(b"\0\0\1\x68")
    with pytest.raises(FrameError, match="fewer references"):
        VideoDecoder(pixels=50_000_000).decode(large[:at] + set_of_small + large[at:])


def test_a_small_parameter_set_does_not_hide_a_large_one_that_came_before() -> None:
    large = next(video_units(width=640, height=480, references=1, count=1))
    small = next(video_units(width=64, height=64, references=1, count=1, options="sps-id=1"))
    decoder = VideoDecoder(pixels=10**6)
    decoder.decode(large)
    decoder.decode(small)
    with pytest.raises(MemoryNeededError):
        decoder.decode(large[large.index(b"\0\0\1\x68") :], memory=100_000)


@pytest.mark.parametrize(
    "more",
    [
        b"\0\0\1\x0c\x80" * 1000,
        b"\0\0\1\x06" + (b"\x05\x11" + b"U" * 17) * 10_000 + b"\x80",
        b"\0\0\1\x67\x42\0\x0a\xf8\x41\xa2" * 40,
    ],
    ids=["parts", "messages", "parameter sets"],
)
def test_a_unit_of_many_parts_is_refused_before_the_decoder_takes_memory_for_each(
    more: bytes,
) -> None:
    """A unit of 10 MiB in parts of 4 bytes took 10 GiB, and its stream kept them."""
    unit = next(video_units(width=64, height=64, references=1, count=1))
    decoder = VideoDecoder(pixels=10**6)
    with pytest.raises(FrameError) as refused:
        decoder.decode(more + unit)
    assert refused.value.code is FrameErrorCode.UNDECODABLE
    assert decoder.decode(unit).shape == (64, 64, 3)


def test_what_the_decoder_keeps_for_parts_is_counted() -> None:
    unit = next(video_units(width=64, height=64, references=1, count=1))
    budget = MemoryBudget(2**20)
    decoder = VideoDecoder(pixels=10**6, memory=budget)
    decoder.decode(unit)
    before = budget.free
    decoder.decode(b"\0\0\1\x0c\x80" * 132 + unit)
    assert budget.free < before - 100 * 4096
    with pytest.raises(FrameError, match="other streams"):
        decoder.decode(b"\0\0\1\x0c\x80" * 400 + unit)
    assert decoder.decode(unit).shape == (64, 64, 3)
    decoder.close()
    assert budget.free == budget.total


def test_a_stream_whose_pictures_the_decoder_would_keep_back_fails() -> None:
    """Each answer would be another frame's, and up to 16 pictures were in no account."""
    options = "bframes=3:b-adapt=0"
    units = list(video_units(width=64, height=64, references=1, count=12, options=options))
    assert len(units) == 12
    decoder = VideoDecoder(pixels=10**6)
    for unit in units:
        with pytest.raises(FrameError) as failed:
            decoder.decode(unit)
        assert failed.value.code is FrameErrorCode.NEEDS_KEYFRAME
    unit = next(video_units(width=64, height=64, references=1, count=1))
    assert decoder.decode(unit).shape == (64, 64, 3)


def test_a_video_decoder_keeps_no_more_than_it_has_reserved() -> None:
    program = (
        "from pathlib import Path\n"
        "from runtime.streaming.frames.video import VideoDecoder\n"
        "from runtime.streaming.memory import MemoryBudget, return_freed_memory\n"
        "from tests.hostile import video_units\n"
        "def resident():\n"
        "    return_freed_memory()\n"
        "    return int(Path('/proc/self/statm').read_text().split()[1]) * 4096\n"
        "units = list(video_units(width=1280, height=720, references=16, count=30))\n"
        "small = list(video_units(width=64, height=64, references=1, count=2))\n"
        "first = VideoDecoder(pixels=10**6)\n"
        "for unit in small:\n"
        "    first.decode(unit)\n"
        "before, budget = resident(), MemoryBudget(2**30)\n"
        "decoder = VideoDecoder(pixels=10**6, memory=budget)\n"
        "for unit in units:\n"
        "    decoder.decode(unit)\n"
        "print(resident() - before, budget.total - budget.free)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=IMPORT_ROOT
    )
    kept, reserved = map(int, done.stdout.split())
    assert 10 * 2**20 < kept < reserved


def test_streams_of_video_share_their_memory_and_give_it_back() -> None:
    unit = next(video_units(width=640, height=480, references=2, count=1))
    budget = MemoryBudget(6 * 640 * 480 * 3 // 2)
    first, second = (VideoDecoder(pixels=10**6, memory=budget) for _ in range(2))
    assert first.decode(unit).shape == (480, 640, 3)
    assert budget.free == 0
    with pytest.raises(FrameError, match="other streams"):
        second.decode(unit)
    first.close()
    assert budget.free == budget.total
    assert second.decode(unit).shape == (480, 640, 3)


def test_a_large_video_picture_waits_for_memory_and_loses_nothing() -> None:
    units = list(video_units(width=640, height=480, references=1, count=3))
    decoder = VideoDecoder(pixels=10**6)
    for level, unit in enumerate(units):
        with pytest.raises(MemoryNeededError) as put_off:
            decoder.decode(unit, memory=1000)
        decoded = decoder.decode(unit, memory=put_off.value.needed)
        expected = (40 + level - 16) * 255 / 219
        assert decoded.shape == (480, 640, 3)
        assert np.abs(decoded[..., 1].astype(float).mean() - decoder_green(expected)) < 60


def decoder_green(luma: float) -> float:
    """Green of a picture whose chroma planes are as dark as its luma: far from grey."""
    return luma + 0.392 * 88 + 0.813 * 88


def test_an_ended_stream_releases_its_decoder_and_frames_at_once() -> None:
    done = Settled()
    pipeline = make_pipeline(done)
    gc.collect()
    gc.disable()
    try:
        session = make_session(host=ModelHost(LoadedModel(offer(), FakeDetector())))
        for number, unit in enumerate(video_units(width=64, height=64, references=1, count=3)):
            pipeline.submit(session.take(Frame(number, 0, Encoding.H264, unit), received=0))
        # A frame error's traceback would hold frames too.
        bad = session.take(Frame(3, 0, Encoding.PNG, b"no picture"), received=0)
        pipeline.submit(bad)
        done.wait(4)
        assert isinstance(done.outcomes[0], Found)
        watched = [weakref.ref(one) for one in (session, session.stream, session.stream.video)]
        pipeline.cancel(session.stream)
        session.forget()
        del session, bad
        until = time.monotonic() + 20
        while any(one() for one in watched) and time.monotonic() < until:
            time.sleep(0.01)
        assert [one() for one in watched] == [None, None, None]
    finally:
        gc.enable()
        pipeline.stop()


def test_a_stream_that_ends_while_it_is_decoded_is_released_then() -> None:
    done = Settled()
    pipeline = make_pipeline(done)
    session = make_session(host=ModelHost(LoadedModel(offer(), FakeDetector())))
    closed: list[bool] = []
    entered, leave = threading.Event(), threading.Event()

    class Video:
        def decode(self, unit: bytes, *, memory: int) -> np.ndarray:
            entered.set()
            leave.wait(20)
            assert not closed
            return np.zeros((8, 8, 3), np.uint8)

        def close(self) -> None:
            closed.append(True)

    session.stream.video = Video()
    pipeline.submit(session.take(Frame(0, 0, Encoding.H264, b""), received=0))
    assert entered.wait(20)
    pipeline.cancel(session.stream)
    assert not closed
    leave.set()
    done.wait(1)
    pipeline.stop()
    assert closed == [True]
    assert session.stream.video is None


def test_frames_that_need_much_memory_take_turns_and_others_pass_them() -> None:
    scheduler = Scheduler(memory=100)
    host = ModelHost(LoadedModel(offer(), FakeDetector(), 8))
    large = [make_session(host=host) for _ in range(3)]
    small = make_session(host=host)
    jobs = {s: s.take(Frame(0, 0, Encoding.PNG, picture(1)), received=0) for s in (*large, small)}
    for session in large:
        scheduler.submit(jobs[session])
    for session, wanted in zip(large, (70, 60, 20), strict=True):
        step, _ = scheduler.next(0)
        assert step == Decode(jobs[session])
        scheduler.postpone(jobs[session], memory=wanted)
    scheduler.submit(jobs[small])
    assert [scheduler.next(0)[0] for _ in range(3)] == [
        Decode(jobs[large[0]]),
        # The third would fit, but then the second might wait for ever.
        Decode(jobs[small]),
        None,
    ]
    jobs[large[0]].outcome = FrameError(FrameErrorCode.UNDECODABLE, "done")
    scheduler.decoded(jobs[large[0]])
    assert [scheduler.next(0)[0] for _ in range(2)] == [
        Decode(jobs[large[1]]),
        Decode(jobs[large[2]]),
    ]


def test_large_pictures_are_answered_one_after_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runtime.streaming.frames.pipeline.LIGHT_BYTES", 1000)
    done = Settled()
    limits = replace(Limits(), decoding_bytes=64 * 48 * 12 + 1)
    pipeline = make_pipeline(done, limits=limits, threads=3)
    host = ModelHost(LoadedModel(offer(), FakeDetector(), 8))
    for level in range(6):
        session = make_session(host=host)
        frame = Frame(0, 0, Encoding.PNG, picture(level))
        pipeline.submit(session.take(frame, received=0))
    larger = make_session(host=host)
    frame = Frame(0, 0, Encoding.PNG, picture(9, size=(65, 48)))
    pipeline.submit(larger.take(frame, received=0))
    done.wait(7)
    pipeline.stop()
    refused = [one for one in done.outcomes if isinstance(one, FrameError)]
    assert [one.code for one in refused] == [FrameErrorCode.TOO_MANY_PIXELS]
    assert sum(isinstance(one, Found) for one in done.outcomes) == 6


async def test_a_thread_that_is_stuck_makes_the_server_not_ready_and_does_not_hold_its_stop(
    running: ServerFactory,
) -> None:
    source = FakeSource()
    limits = replace(Limits(), stuck_seconds=0.2, stop_seconds=0.2)
    async with running(source=source, limits=limits) as one:
        page = f"http://127.0.0.1:{one.server.http_port}/readyz"
        assert (await asyncio.to_thread(_read, page))[0] == 200
        source.detectors["fake"].gate.clear()
        async with AsyncStreamClient(one.address, policy="lossless") as client:
            asking = asyncio.create_task(client.detect(picture(1)))
            status = 200
            async with asyncio.timeout(15):
                while status == 200:
                    await asyncio.sleep(0.05)
                    status, reason = await asyncio.to_thread(_read, page)
            assert status == 503
            assert "stuck" in reason
            await one.server.stop()
            # The gate opens by itself after 20 s: the stop has not waited for it.
            assert any(thread.is_alive() for thread in one.server._pipeline._threads)
            source.detectors["fake"].gate.set()
            asking.cancel()


def _read(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=20) as answer:  # noqa: S310 - loopback
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


async def test_hostile_pictures_fail_alone_beside_an_honest_stream(running: ServerFactory) -> None:
    async with (
        running() as one,
        AsyncStreamClient(one.address, policy="lossless") as honest,
        AsyncStreamClient(one.address, policy="lossless") as hostile,
    ):
        attacks = [many_scans(150, size=(256, 256)), deep_png(1024)] * 2
        attack = asyncio.create_task(_answers(hostile, attacks))
        answers = await _answers(honest, [picture(level) for level in range(40)])
        assert [answer.detections[0].class_id for answer in answers] == list(range(40))
        outcomes = await attack
    assert [type(answer) for answer in outcomes] == [FailedFrame, StreamResult] * 2
    assert "scans" in outcomes[0].reason


async def _answers(client: AsyncStreamClient, frames: Sequence[bytes]) -> list:
    return [answer async for answer in client.stream(frames)]


def test_the_stated_memory_counts_every_limit() -> None:
    limits = Limits()
    less = replace(limits, video_bytes=0, decoding_bytes=0, waiting_bytes=0)
    difference = limits.memory_bytes(threads=3) - less.memory_bytes(threads=3)
    assert difference == limits.video_bytes + limits.decoding_bytes + limits.waiting_bytes


def test_freed_memory_goes_back_to_the_system() -> None:
    program = """
import re
from pathlib import Path
from runtime.streaming.memory import return_freed_memory

def resident():
    return int(re.search(r"VmRSS:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) // 1024

# From then on glibc keeps blocks of this size for itself.
del (block := [bytearray(24 * 2**20)])[:]
kept = [bytearray(2**20) for _ in range(200)]
last = bytearray(100_000)
del kept
before = resident()
return_freed_memory()
print(before, resident())
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    before, after = map(int, done.stdout.split())
    assert before > 150
    assert after < before - 100


def test_memory_is_given_back_once_large_pictures_are_done(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = threading.Event()
    monkeypatch.setattr(pipeline_module, "return_freed_memory", given.set)
    done = Settled()
    pipeline = make_pipeline(done)
    session = make_session(host=ModelHost(LoadedModel(offer(), FakeDetector())))
    small = cv2.imencode(".png", np.zeros((32, 32, 3), np.uint8))[1].tobytes()
    pipeline.submit(session.take(Frame(0, 0, Encoding.PNG, small), received=0))
    done.wait(1)
    assert not given.wait(0.2)
    large = cv2.imencode(".png", np.zeros((3150, 3150, 3), np.uint8))[1].tobytes()
    pipeline.submit(session.take(Frame(1, 0, Encoding.PNG, large), received=0))
    done.wait(2)
    assert given.wait(20)
    pipeline.stop()
