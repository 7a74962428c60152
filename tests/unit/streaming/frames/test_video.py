"""H.264 as a stream, from arrays at one end to detections at the other."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from runtime.protocol.errors import FrameError, FrameErrorCode
from runtime.streaming.frames.video import VideoDecoder
from tests.unit.streaming.conftest import FakeDetector, FakeSource, ServerFactory
from visionstack.stream.client import AsyncStreamClient, Patience
from visionstack.stream.h264 import H264Encoder
from visionstack.stream.pictures import encode_picture
from visionstack.stream.types import DroppedFrame, FailedFrame, StreamResult

HASTY = Patience(first_delay=0.02, longest_delay=0.2)


def grey(level: int, *, width: int = 128, height: int = 96) -> np.ndarray:
    return np.full((height, width, 3), level, np.uint8)


def test_each_unit_gives_its_picture_at_once() -> None:
    encoder, decoder = H264Encoder(quality=90), VideoDecoder(pixels=10**6)
    for level in range(20, 220, 10):
        decoded = decoder.decode(encoder.encode(grey(level)).data)
        assert decoded.shape == (96, 128, 3)
        assert abs(float(decoded.mean()) - level) < 3


def test_a_moving_picture_takes_fewer_bytes_than_as_jpeg() -> None:
    generator = np.random.default_rng(1)
    scene = np.kron(generator.integers(0, 255, (24, 32, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    frames = [np.roll(scene, shift, axis=1) for shift in range(0, 40, 2)]
    encoder = H264Encoder(quality=90)
    video = sum(len(encoder.encode(frame).data) for frame in frames)
    pictures = sum(len(encode_picture(frame).data) for frame in frames)
    assert video < pictures / 3


def test_a_stream_that_begins_without_a_key_frame_is_asked_for_one() -> None:
    encoder, decoder = H264Encoder(quality=90), VideoDecoder(pixels=10**6)
    encoder.encode(grey(1))
    with pytest.raises(FrameError) as refused:
        decoder.decode(encoder.encode(grey(50)).data)
    assert refused.value.code is FrameErrorCode.NEEDS_KEYFRAME
    encoder.restart()
    assert decoder.decode(encoder.encode(grey(50)).data).shape == (96, 128, 3)


@pytest.mark.parametrize("unit", [b"", b"\0\0\0\1", b"no video at all" * 20])
def test_garbage_is_a_frame_error(unit: bytes) -> None:
    with pytest.raises(FrameError):
        VideoDecoder(pixels=10**6).decode(unit)


def test_a_picture_above_the_limit_is_refused_by_its_header() -> None:
    unit = H264Encoder(quality=90).encode(grey(1, width=640, height=480)).data
    with pytest.raises(FrameError):
        VideoDecoder(pixels=640 * 480 - 1).decode(unit)


def test_odd_sides_lose_a_row_or_a_column() -> None:
    unit = H264Encoder(quality=90).encode(grey(9, width=101, height=75))
    assert VideoDecoder(pixels=10**6).decode(unit.data).shape == (74, 100, 3)


async def test_a_lossless_video_stream_is_answered_frame_by_frame(running: ServerFactory) -> None:
    async with (
        running() as one,
        AsyncStreamClient(one.address, policy="lossless", encoding="h264") as client,
    ):
        levels = [(n * 7) % 200 + 20 for n in range(80)]
        answers = [a async for a in client.stream(grey(level) for level in levels)]
    assert [a.sequence for a in answers] == list(range(80))
    seen = [a.detections[0].class_id for a in answers]
    assert max(abs(a - b) for a, b in zip(seen, levels, strict=True)) <= 3


async def test_a_live_video_stream_drops_before_encoding_so_that_none_fails(
    running: ServerFactory,
) -> None:
    source = FakeSource(FakeDetector(seconds=0.15))
    async with (
        running(source=source) as one,
        AsyncStreamClient(one.address, encoding="h264") as client,
    ):

        async def camera() -> object:
            for level in range(40):
                yield grey(level * 3)
                await asyncio.sleep(0.005)

        answers = [a async for a in client.stream(camera())]
    assert not [a for a in answers if isinstance(a, FailedFrame)]
    assert [a for a in answers if isinstance(a, DroppedFrame)]
    for answer in answers:
        if isinstance(answer, StreamResult):
            assert abs(answer.detections[0].class_id - answer.sequence * 3) <= 3


def test_a_video_begun_anew_starts_with_the_pictures_that_nobody_has_seen() -> None:
    encoder = H264Encoder(quality=90)
    units = [encoder.encode(grey(level)) for level in (10, 60, 110, 160)]
    jpeg = encode_picture(grey(5))
    *again, untouched = encoder.restart([*units[2:], jpeg])
    decoder = VideoDecoder(pixels=10**6)
    seen = [float(decoder.decode(unit.data).mean()) for unit in [*again, encoder.encode(grey(210))]]
    assert max(abs(a - b) for a, b in zip(seen, (110, 160, 210), strict=True)) < 3
    assert untouched is jpeg
    assert encoder.renew(again[0]) is again[0]
    assert abs(float(decoder.decode(encoder.renew(units[0]).data).mean()) - 10) < 3


async def test_a_lossless_video_stream_loses_nothing_when_its_server_is_gone(
    running: ServerFactory,
) -> None:
    slow = FakeSource(FakeDetector(seconds=0.01))
    levels = [(n * 7) % 200 + 20 for n in range(120)]
    async with running(source=slow) as one, running() as other:
        client = AsyncStreamClient(
            [one.address, other.address], policy="lossless", encoding="h264", patience=HASTY
        )
        async with client:
            answers, submitted = [], 0
            async for answer in client.stream(grey(level) for level in levels):
                answers.append(answer)
                if len(answers) == 40:
                    # Eight units are under way and one waits; all of them build on earlier ones.
                    # Some of them may have been answered already.
                    submitted = client.counts.submitted
                    assert submitted - len(answers) > 4
                    one.server.registry.close_all()
                    one.server.registry.draining = "the test wants it"
    assert [a.sequence for a in answers] == list(range(120))
    assert not [a for a in answers if not isinstance(a, StreamResult)]
    seen = [a.detections[0].class_id for a in answers]
    assert max(abs(a - b) for a, b in zip(seen, levels, strict=True)) <= 3
    assert len(other.source.detectors["fake"].batches) >= 120 - submitted > 0


async def test_single_pictures_may_go_into_a_stream_of_video(running: ServerFactory) -> None:
    async with (
        running() as one,
        AsyncStreamClient(one.address, policy="lossless", encoding="h264") as client,
    ):
        pictures = [grey(40), encode_picture(grey(90)), grey(140)]
        answers = [a async for a in client.stream(pictures)]
    seen = [a.detections[0].class_id for a in answers]
    assert max(abs(a - b) for a, b in zip(seen, (40, 90, 140), strict=True)) <= 3


async def test_a_video_may_begin_between_two_inferred_frames(running: ServerFactory) -> None:
    """Its first unit is decoded although the tracker answers: those after it are made of it."""
    async with (
        running() as one,
        AsyncStreamClient(
            one.address, policy="lossless", encoding="h264", track=True, key_interval=3
        ) as client,
    ):
        pictures = [encode_picture(grey(40)), grey(90), grey(120), grey(140)]
        answers = [a async for a in client.stream(pictures)]
    assert [type(a) for a in answers] == [StreamResult] * 4
    assert [a.predicted for a in answers] == [False, True, True, False]
    assert abs(answers[3].detections[0].class_id - 140) <= 3


async def test_after_the_server_is_gone_the_next_one_gets_a_key_frame(
    running: ServerFactory,
) -> None:
    async with (
        running() as one,
        running() as other,
        AsyncStreamClient(
            [one.address, other.address], policy="lossless", encoding="h264"
        ) as client,
    ):
        for level in (10, 20, 30):
            assert (await client.detect(grey(level))).detections
        await one.server.drain("the test wants it")
        assert abs((await client.detect(grey(90))).detections[0].class_id - 90) <= 3
    assert len(other.source.detectors["fake"].batches) == 1
