"""Cameras per dollar: how many cameras one machine serves, found by search, and predicted.

A trial plays the labelled clip from so many cameras at once, in the clip's own time: each camera
takes the world as it is at its own moments, `fps` a second, spread evenly over a period, and the
newest result that has arrived stands for the world (streaming accuracy). A frame that was dropped
is one that was not answered in time. Frames are encoded before, as cameras encode their own; the
cameras and the server share this machine's processors.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from runtime.inference.artifact import Artifact
from runtime.measurement.statistics import percentile
from visionstack.accuracy.detection import Evaluation, Found
from visionstack.accuracy.inputs import Inputs, read_clip
from visionstack.accuracy.served import clip_of
from visionstack.accuracy.streaming import StreamedFrame, seen_at
from visionstack.accuracy.variants import LEAST
from visionstack.errors import UsageError, VisionstackError
from visionstack.models.building import current_folder
from visionstack.server_process import served
from visionstack.stream.client import AsyncStreamClient, StreamOptions
from visionstack.stream.pictures import EncodedPicture, encode_picture
from visionstack.stream.types import EndpointLike, StreamResult

IN_TIME: Final = 0.99
"""Share of all frames: p99 within the bound, a dropped frame being late for ever."""
LONGEST_S: Final = 60.0
MOST_CAMERAS: Final = 256
_SCORED: Final = 8
"""Cameras of a trial whose streaming accuracy is averaged."""
_SETTLE_S: Final = 0.5
_FULL_S: Final = 6.0


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What each camera is to get: frames a second, seconds from capture to result, AP50."""

    fps: float
    within_s: float
    accuracy: float


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What so many cameras got."""

    cameras: int
    frames: int
    in_time: float
    """Share of the frames."""
    p99_s: float
    """Of the answered frames; NaN without any."""
    rate: float
    """Frames answered a second, all cameras together."""
    accuracy: float

    def shortcoming(self, wanted: Wanted) -> str | None:
        """What was not as wanted; None where all was."""
        if self.in_time < IN_TIME:
            return (
                f"{self.in_time:.1%} of the frames were answered within {wanted.within_s * 1000:g} "
                f"ms, {IN_TIME:.0%} are wanted"
            )
        if not self.accuracy >= wanted.accuracy:
            return f"streaming AP50 was {self.accuracy:.3f}, {wanted.accuracy:g} is wanted"
        return None


@dataclass(frozen=True, kw_only=True)
class Search:
    """The most cameras that got what was wanted, and the fewest that did not, if any were tried."""

    most: int
    too_many: int | None
    trials: tuple[Trial, ...]
    in_time: bool
    """Whether the search came to its end: `too_many` is one more than `most`."""


def search(
    attempt: Callable[[int], Trial],
    wanted: Wanted,
    *,
    start: int,
    seconds: float,
    trial_seconds: float,
    clock: Callable[[], float] = time.monotonic,
) -> Search:
    """From `start` cameras on by halves more or fewer, then by halving what is between."""
    ends = clock() + seconds
    trials: list[Trial] = []
    good, bad = 0, MOST_CAMERAS + 1
    cameras = min(max(start, 1), MOST_CAMERAS)
    while bad - good > 1 and clock() + trial_seconds <= ends:
        trial = attempt(cameras)
        trials.append(trial)
        if trial.shortcoming(wanted) is None:
            good = cameras
        else:
            bad = cameras
        if bad > MOST_CAMERAS:
            cameras = min(good + max(1, good // 2), MOST_CAMERAS)
        elif good == 0:
            cameras = max(1, bad - max(1, bad // 3))
        else:
            cameras = (good + bad) // 2
    return Search(
        most=good,
        too_many=bad if bad <= MOST_CAMERAS else None,
        trials=tuple(trials),
        in_time=bad - good == 1,
    )


@dataclass(frozen=True, kw_only=True)
class Film:
    """A labelled clip's frames as cameras send them, and how long it is in its own time."""

    inputs: Inputs
    pictures: Sequence[EncodedPicture]
    rate: float

    @classmethod
    def of(cls, inputs: Inputs) -> Film:
        """Raises `UsageError` for what is no labelled clip, or too long to be played many times."""
        clip = clip_of(inputs)
        if inputs.labels is None:
            raise UsageError(f"{inputs.name} has no labels.", remedy="Name them: --labels FILE")
        if clip.frames / clip.rate > LONGEST_S:
            raise UsageError(
                f"{clip.path} lasts {clip.frames / clip.rate:.0f} s, and a trial plays all of it.",
                remedy=f"Cut it to at most {LONGEST_S:.0f} s.",
            )
        pictures = [encode_picture(image) for image in read_clip(clip.path)]
        return cls(inputs=inputs, pictures=pictures, rate=clip.rate)

    @property
    def seconds(self) -> float:
        return len(self.pictures) / self.rate

    def at(self, second: float) -> EncodedPicture:
        """The world at that moment."""
        return self.pictures[min(int(second * self.rate + 1e-6), len(self.pictures) - 1)]


@dataclass(frozen=True, kw_only=True)
class SingleStream:
    """What one stream alone gets, in frames a second: one frame at once, and as many as it may."""

    one_by_one: float
    full: float

    def cameras(self, fps: float) -> int:
        """How many cameras that predicts: the full stream's frames shared out."""
        return math.floor(self.full / fps + 1e-9)


def measure_single(endpoint: EndpointLike, film: Film, *, seconds: float = _FULL_S) -> SingleStream:
    """Raises `VisionstackError` where the server does not answer."""
    return asyncio.run(_single(endpoint, film, seconds))


async def _single(endpoint: EndpointLike, film: Film, seconds: float) -> SingleStream:
    pictures = itertools.cycle(film.pictures)
    async with AsyncStreamClient(endpoint, policy="lossless", confidence=LEAST) as client:
        for _ in range(3):
            await client.detect(next(pictures))
        began, alone = time.monotonic(), 0
        while time.monotonic() < began + seconds / 2:
            await client.detect(next(pictures))
            alone += 1
        one_by_one = alone / (time.monotonic() - began)
        began = time.monotonic()
        until_then = itertools.takewhile(lambda _: time.monotonic() < began + seconds, pictures)
        answered = 0
        async for answer in client.stream(until_then):
            answered += isinstance(answer, StreamResult)
        return SingleStream(one_by_one=one_by_one, full=answered / (time.monotonic() - began))


def play_cameras(
    endpoint: EndpointLike,
    film: Film,
    cameras: int,
    *,
    wanted: Wanted,
    gate: float | None = None,
    key_interval: int = 1,
) -> Trial:
    """One trial, with the change gate and with tracking between key frames where it is asked for.

    Raises `VisionstackError` where a stream is lost.
    """
    options: StreamOptions = {
        "policy": "live",
        "confidence": LEAST,
        "gate": gate,
        "track": key_interval > 1,
        "key_interval": key_interval,
    }
    played = asyncio.run(_play(endpoint, film, cameras, fps=wanted.fps, options=options))
    frames = [frame for camera in played for frame in camera]
    latencies = [f.arrived - f.captured for f in frames if f.arrived is not None]
    last = max((f.arrived for f in frames if f.arrived is not None), default=0.0)
    return Trial(
        cameras=cameras,
        frames=len(frames),
        in_time=sum(latency <= wanted.within_s for latency in latencies) / len(frames),
        p99_s=percentile(latencies, 99) if latencies else math.nan,
        rate=len(latencies) / max(last, film.seconds),
        accuracy=_accuracy(film, played),
    )


def _accuracy(film: Film, played: Sequence[Sequence[StreamedFrame[Found]]]) -> float:
    labels = film.inputs.labels
    if labels is None:
        raise VisionstackError(f"{film.inputs.name} has no labels.")
    moments = [frame / film.rate for frame in film.inputs.frames]
    picked = np.unique(np.linspace(0, len(played) - 1, min(_SCORED, len(played))).round())
    scores = [
        Evaluation(labels, seen_at(moments, played[int(place)])).score.overall.ap50
        for place in picked
    ]
    return float(np.mean(scores))


async def _play(
    endpoint: EndpointLike, film: Film, cameras: int, *, fps: float, options: StreamOptions
) -> list[list[StreamedFrame[Found]]]:
    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(AsyncStreamClient(endpoint, **options))
            for _ in range(cameras)
        ]
        began = time.monotonic() + _SETTLE_S
        under_way = (
            _camera(client, film, began=began, fps=fps, phase=number / cameras / fps)
            for number, client in enumerate(clients)
        )
        return list(await asyncio.gather(*under_way))


async def _camera(
    client: AsyncStreamClient, film: Film, *, began: float, fps: float, phase: float
) -> list[StreamedFrame[Found]]:
    """Times are seconds since `began`; a frame counts from when it was due, as the world does."""
    due = [phase + n / fps for n in range(math.ceil((film.seconds - phase) * fps - 1e-9))]
    answers: dict[int, tuple[float, tuple[Found, ...]]] = {}

    async def send() -> None:
        for number, moment in enumerate(due):
            await asyncio.sleep(max(0.0, began + moment - time.monotonic()))
            await client.send(film.at(moment), context=number)

    sender = asyncio.create_task(send())
    sender.add_done_callback(lambda _: client.notify())
    try:
        async for answer in client.until(sender.done):
            if isinstance(answer, StreamResult):
                answers[answer.context] = (time.monotonic() - began, answer.detections)
        await sender
    finally:
        sender.cancel()
        await asyncio.gather(sender, return_exceptions=True)
    return [
        StreamedFrame(
            captured=moment,
            arrived=answers[number][0] if number in answers else None,
            found=answers[number][1] if number in answers else (),
        )
        for number, moment in enumerate(due)
    ]


@dataclass(frozen=True, kw_only=True)
class Counted:
    """A model on this machine."""

    model: str
    version: str
    engine: str
    trained: bool
    single: SingleStream
    predicted: int
    search: Search
    usd_per_hour: float | None

    @property
    def off(self) -> float:
        """The number found over the number predicted, less one."""
        return self.search.most / self.predicted - 1 if self.predicted else math.inf


def count_cameras(
    model: str,
    film: Film,
    wanted: Wanted,
    *,
    seconds: float,
    usd_per_hour: float | None,
    models: Path,
    tell: Callable[[str], None] = lambda _: None,
) -> Counted:
    """Serve the model on this machine and search for the most cameras, within `seconds`.

    Raises `VisionstackError` where the model cannot be served.
    """
    ends = time.monotonic() + seconds
    folder = current_folder(models, model)
    manifest = Artifact.load(folder).manifest
    with served(folder) as endpoint:
        tell(f"{model}: one stream alone")
        single = measure_single(endpoint, film)

        def attempt(cameras: int) -> Trial:
            tell(f"{model}: {cameras} camera{'s' if cameras > 1 else ''}")
            return play_cameras(endpoint, film, cameras, wanted=wanted)

        predicted = single.cameras(wanted.fps)
        found = search(
            attempt,
            wanted,
            start=predicted,
            seconds=ends - time.monotonic(),
            trial_seconds=film.seconds + 2 * _SETTLE_S,
        )
        server = asyncio.run(_server_of(endpoint))
    return Counted(
        model=model,
        version=manifest.version,
        engine=server,
        trained=manifest.weights.trained,
        single=single,
        predicted=predicted,
        search=found,
        usd_per_hour=usd_per_hour,
    )


async def _server_of(endpoint: EndpointLike) -> str:
    async with AsyncStreamClient(endpoint) as client:
        return f"{client.server.engine} {client.server.precision}"
