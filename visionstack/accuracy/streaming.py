"""Streaming accuracy: what has arrived by now, scored against the world as it is now.

At the time of each labelled frame the newest result that has arrived stands for the world; frames
that came late, were dropped or wait in a queue leave it old, and that costs accuracy (Li, Wang,
Ramanan, "Towards Streaming Perception", ECCV 2020, arXiv:2005.10420, streaming AP).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamedFrame(Generic[T]):
    """A frame of a stream: when it was captured, and when its result was there, in seconds.

    `arrived` is None and `found` empty where the frame was dropped.
    """

    captured: float
    arrived: float | None
    found: tuple[T, ...]


def seen_at_each_frame(
    frames: Sequence[StreamedFrame[T]], *, delay: float = 0.0
) -> list[tuple[T, ...]]:
    """What was known when each frame was captured; see `seen_at`."""
    return seen_at([frame.captured for frame in frames], frames, delay=delay)


def seen_at(
    moments: Sequence[float], frames: Sequence[StreamedFrame[T]], *, delay: float = 0.0
) -> list[tuple[T, ...]]:
    """What was known at each moment: the newest frame's result among those that had arrived.

    `delay` (seconds) is added to every arrival, as a longer round trip would. Before the first
    result nothing is known. Moments rise; frames are in the order of their capture.
    """
    arrivals = sorted(
        (frame.arrived + delay, place)
        for place, frame in enumerate(frames)
        if frame.arrived is not None
    )
    seen: list[tuple[T, ...]] = []
    newest, following = -1, 0
    for moment in moments:
        while following < len(arrivals) and arrivals[following][0] <= moment:
            newest = max(newest, arrivals[following][1])
            following += 1
        seen.append(frames[newest].found if newest >= 0 else ())
    return seen
