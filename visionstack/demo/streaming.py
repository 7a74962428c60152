"""The demo's streaming half: one picture, then a clip at a camera's pace."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from runtime.measurement.statistics import percentile
from visionstack import paths
from visionstack.errors import VisionstackError
from visionstack.report.sections import Box, Picture
from visionstack.stream.blocking import StreamClient
from visionstack.stream.pictures import encode_picture
from visionstack.stream.sources import open_source, paced
from visionstack.stream.summary import SPLIT, StreamSummary
from visionstack.stream.types import EndpointLike, ServerInfo, StreamResult

CLIP = paths.SAMPLES / "pedestrians.avi"
PACED_FPS = 30.0
"""The clip was filmed at 10 frames/s; it is sent at a webcam's pace."""
SHOWN_FRAMES = (100, 250)


@dataclass(frozen=True)
class Streamed:
    """The record's section, and pictures to look at."""

    section: dict[str, Any]
    seen: list[Picture]


def stream_samples(endpoint: EndpointLike, *, tick: Callable[[int, int], object]) -> Streamed:
    """Stream dog.jpg, then the clip in live policy.

    `tick(done, total)` is called as frames are answered. Raises VisionstackError when the clip
    cannot be read or the server answers no frame.
    """
    dog = paths.SAMPLES / "dog.jpg"
    with StreamClient(endpoint, policy="lossless") as client:
        client.detect(dog)  # the first frame of a connection pays for its warm-up
        result = client.detect(dog)
        seen = [_picture(dog.read_bytes(), result, caption="dog.jpg, the 2019 paper's picture")]
    with StreamClient(endpoint, policy="live") as client:
        server = client.server
        # As a camera would give them.
        clip = open_source(str(CLIP)).frames
        frames = [encode_picture(one.picture, quality=95).data for one in clip]
        summary = StreamSummary()
        results: list[StreamResult] = []
        started = time.monotonic()
        answers = client.stream(paced(zip(frames, itertools.count()), PACED_FPS))
        for number, answer in enumerate(answers, start=1):
            summary.add(answer)
            if isinstance(answer, StreamResult):
                results.append(answer)
            tick(number, len(frames))
        seconds = time.monotonic() - started
    if not results:
        raise VisionstackError(
            f"None of {len(frames)} frames was answered ({summary.dropped.total()} dropped, "
            f"{summary.failed} failed).",
            remedy="`visionstack local status` names the instance's log.",
        )
    by_frame = {answer.context: answer for answer in results}
    for number in SHOWN_FRAMES:
        nearest = min(by_frame, key=lambda frame: abs(frame - number))
        caption = f"frame {nearest} of {CLIP.name}"
        seen.append(_picture(frames[nearest], by_frame[nearest], caption=caption))
    return Streamed(_section(server, results, summary, frames=len(frames), took=seconds), seen)


def _section(
    server: ServerInfo,
    results: list[StreamResult],
    summary: StreamSummary,
    *,
    frames: int,
    took: float,
) -> dict[str, Any]:
    return {
        "source": CLIP.name,
        "model": server.model,
        "version": server.version,
        "engine": f"{server.engine} {server.precision} on {server.device}",
        "weights": server.weights,
        "trained": server.weights_trained,
        "policy": "live",
        "paced_fps": PACED_FPS,
        "frames": frames,
        "results": summary.results,
        "dropped": summary.dropped.total(),
        "failed": summary.failed,
        "fps": summary.results / took,
        "latency_ms": {f"p{q}": percentile(summary.latencies, q) for q in (50, 90, 99)},
        "split_ms": {
            part: percentile([getattr(result.latency, part) for result in results], 50)
            for part in SPLIT
        },
        "samples_ms": summary.latencies,
        "labels": dict(summary.labels.most_common()),
    }


def _picture(jpeg: bytes, result: StreamResult, *, caption: str) -> Picture:
    counts = Counter(found.label for found in result.detections)
    found = ", ".join(f"{name} {count}" for name, count in counts.most_common())
    return Picture(
        jpeg,
        alt=f"{caption}: {found}",
        caption=f"{caption}: {found}",
        boxes=[Box(one.label, one.confidence, *one.box) for one in result.detections],
    )
