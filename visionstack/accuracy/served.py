"""What the real stream server answers to a clip, played live at a rate or frame by frame."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass

from runtime.contract import StreamEncoding
from visionstack.accuracy.detection import Found
from visionstack.accuracy.inputs import Clip, Inputs, read_clip
from visionstack.accuracy.streaming import StreamedFrame, seen_at_each_frame
from visionstack.accuracy.tracking import Tracked
from visionstack.accuracy.variants import LEAST, Variant
from visionstack.errors import UsageError, VisionstackError
from visionstack.models.building import current_folder
from visionstack.paths import MODELS
from visionstack.server_process import served
from visionstack.stream import StreamClient, StreamResult
from visionstack.stream.pictures import Picture
from visionstack.stream.sources import SourceFrame, paced
from visionstack.stream.types import EndpointLike


@dataclass(frozen=True, kw_only=True)
class Played:
    """A clip that was streamed live, every frame with its times; frames a second as asked for."""

    fps: float
    frames: tuple[StreamedFrame[Found], ...]
    encoding: StreamEncoding
    bytes_sent: int
    """Of the pictures as they were sent; those that were dropped in the client not counted."""

    @property
    def answered(self) -> float:
        """Share of the frames; the others were dropped."""
        return sum(frame.arrived is not None for frame in self.frames) / len(self.frames)

    @property
    def latencies(self) -> list[float]:
        """Milliseconds from capture to result."""
        return [
            1000 * (frame.arrived - frame.captured)
            for frame in self.frames
            if frame.arrived is not None
        ]

    def seen(self, inputs: Inputs, *, delay: float) -> list[tuple[Found, ...]]:
        """What was known at the time of each labelled frame."""
        everything = seen_at_each_frame(self.frames, delay=delay)
        return [everything[frame] for frame in inputs.frames]


def clip_of(inputs: Inputs) -> Clip:
    """Raises `UsageError` where there is none."""
    if inputs.clip is None:
        raise UsageError(
            f"{inputs.name} is no clip.",
            remedy="Streams and tracks need one: visionstack accuracy CLIP --labels FILE",
        )
    return inputs.clip


def play(
    endpoint: EndpointLike,
    clip: Clip,
    *,
    fps: float,
    encoding: StreamEncoding = "jpeg",
    quality: int = 90,
) -> Played:
    """Send the clip's frames live, `fps` a second, as a camera would.

    What a frame shows was there at its time, however late the camera or its encoder were: the world
    does not wait for them. Raises `VisionstackError` where a frame failed or nothing was answered.
    """
    given: list[float] = []
    results: dict[int, tuple[float, tuple[Found, ...]]] = {}

    def frames() -> Iterator[tuple[Picture, int]]:
        source = (SourceFrame(str(n), image) for n, image in enumerate(read_clip(clip.path)))
        for number, frame in enumerate(paced(source, fps)):
            given.append(time.monotonic())
            yield frame.picture, number

    with StreamClient(
        endpoint, policy="live", confidence=LEAST, encoding=encoding, quality=quality
    ) as client:
        for answer in client.stream(frames()):
            if isinstance(answer, StreamResult):
                results[answer.context] = (answer.latency.total / 1000, answer.detections)
        sent = client.counts.bytes_sent
    if not results:
        raise VisionstackError(f"No frame of {clip.path} was answered.")
    return Played(
        fps=fps,
        frames=tuple(
            StreamedFrame(
                captured=given[0] + number / fps,
                arrived=at + results[number][0] if number in results else None,
                found=results[number][1] if number in results else (),
            )
            for number, at in enumerate(given)
        ),
        encoding=encoding,
        bytes_sent=sent,
    )


def follow(endpoint: EndpointLike, inputs: Inputs) -> list[tuple[Tracked, ...]]:
    """The tracks in every labelled frame, each frame of the clip answered.

    Raises `VisionstackError` where a frame was not.
    """
    clip = clip_of(inputs)
    found: list[tuple[Tracked, ...]] = []
    with StreamClient(endpoint, policy="lossless", track=True) as client:
        for number, answer in enumerate(client.stream(read_clip(clip.path))):
            if not isinstance(answer, StreamResult):
                raise VisionstackError(f"Frame {number} of {clip.path} was not answered.")
            found.append(answer.detections)
    return [found[frame] for frame in inputs.frames]


def server_of(variant: Variant) -> AbstractContextManager[EndpointLike]:
    """A server of the variant on this machine. Raises `VisionstackError` where it cannot be."""
    folder = current_folder(MODELS, variant.model)
    return served(folder, engine=variant.engine, precision=variant.precision)
