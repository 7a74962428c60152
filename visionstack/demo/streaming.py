"""The demo's streaming half: one picture, then a clip at a camera's pace."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime.measurement.statistics import percentile
from visionstack import paths
from visionstack.errors import VisionstackError
from visionstack.report.sections import Box, Picture
from visionstack.stream.blocking import StreamClient
from visionstack.stream.types import (
    DroppedFrame,
    EndpointLike,
    FailedFrame,
    ServerInfo,
    StreamResult,
)

CLIP = paths.SAMPLES / "pedestrians.avi"
PACED_FPS = 30.0
"""The clip was filmed at 10 frames/s; it is sent at a webcam's pace."""
SHOWN_FRAMES = (100, 250)
_SPLIT = ("uplink", "decode", "queue", "inference", "post", "downlink")


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
        frames = list(_frames(CLIP))
        results: list[StreamResult] = []
        dropped = failed = 0
        started = time.monotonic()
        for answer in client.stream(_paced(frames)):
            if isinstance(answer, StreamResult):
                results.append(answer)
            elif isinstance(answer, DroppedFrame):
                dropped += 1
            elif isinstance(answer, FailedFrame):
                failed += 1
            tick(len(results) + dropped + failed, len(frames))
        seconds = time.monotonic() - started
    if not results:
        raise VisionstackError(
            f"None of {len(frames)} frames was answered ({dropped} dropped, {failed} failed).",
            remedy="`visionstack local status` names the instance's log.",
        )
    by_frame = {answer.context: answer for answer in results}
    for number in SHOWN_FRAMES:
        nearest = min(by_frame, key=lambda frame: abs(frame - number))
        caption = f"frame {nearest} of {CLIP.name}"
        seen.append(_picture(frames[nearest], by_frame[nearest], caption=caption))
    return Streamed(
        _section(server, results, frames=len(frames), dropped=dropped, failed=failed, took=seconds),
        seen,
    )


def _frames(clip: Path) -> Iterator[bytes]:
    """The clip's frames as JPEG, as a camera would give them."""
    import cv2

    video = cv2.VideoCapture(str(clip))
    try:
        while True:
            there, frame = video.read()
            if not there:
                return
            yield cv2.imencode(".jpg", frame)[1].tobytes()
    finally:
        video.release()


def _paced(frames: list[bytes]) -> Iterator[tuple[bytes, int]]:
    started = time.monotonic()
    for number, frame in enumerate(frames):
        time.sleep(max(0.0, started + number / PACED_FPS - time.monotonic()))
        yield frame, number


def _section(
    server: ServerInfo,
    results: list[StreamResult],
    *,
    frames: int,
    dropped: int,
    failed: int,
    took: float,
) -> dict[str, Any]:
    totals = [result.latency.total for result in results]
    labels = Counter(found.label for result in results for found in result.detections)
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
        "results": len(results),
        "dropped": dropped,
        "failed": failed,
        "fps": len(results) / took,
        "latency_ms": {f"p{q}": percentile(totals, q) for q in (50, 90, 99)},
        "split_ms": {
            part: percentile([getattr(result.latency, part) for result in results], 50)
            for part in _SPLIT
        },
        "samples_ms": totals,
        "labels": dict(labels.most_common()),
    }


def _picture(jpeg: bytes, result: StreamResult, *, caption: str) -> Picture:
    found = ", ".join(f"{name} {count}" for name, count in _counts(result).most_common())
    return Picture(
        jpeg,
        alt=f"{caption}: {found}",
        caption=f"{caption}: {found}",
        boxes=[Box(one.label, one.confidence, *one.box) for one in result.detections],
    )


def _counts(result: StreamResult) -> Counter[str]:
    return Counter(found.label for found in result.detections)
