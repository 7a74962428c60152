"""Streaming accuracy of the ways of sending: what had arrived at each labelled frame, scored.

All ways have the same decoding, engine and suppression behind them, and send the same bytes; so the
answers to each picture are computed once, here, and the runs say when each was there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from benchmarks._inputs import labelled_clip
from runtime.inference.detector import Detection, Detector
from runtime.inference.pictures import decode_bgr
from visionstack.accuracy.detection import Evaluation
from visionstack.accuracy.intervals import (
    BLOCK_SECONDS,
    Estimate,
    blocks,
    interval_of,
    resamples,
)
from visionstack.accuracy.streaming import StreamedFrame, seen_at
from visionstack.accuracy.variants import LEAST

SETTLED_S: Final = 3.0
"""Scored from so many seconds after the first frame that counts: the first clip has arrived."""


class Scene:
    """The labelled clip as the camera shows it, and what the detector finds in each picture."""

    def __init__(self, model: Path, pictures: Sequence[Path], *, scale: float) -> None:
        """`scale`: pixels of the labelled frames to one of the pictures."""
        self._inputs, self.labels = labelled_clip()
        detector = Detector.load(model, engine="openvino")
        self._found: list[tuple[Detection, ...]] = []
        for path in pictures:
            found = detector.detect([decode_bgr(path.read_bytes())], confidence=LEAST)[0]
            self._found.append(tuple(_scaled(one, scale) for one in found))

    def score(self, runs: Sequence[dict[str, Any]], *, fps: float, warmup: float) -> Estimate:
        """AP50 over the runs together; `delays_ms` of each are (frame shown, milliseconds).

        The camera shows the clip from its beginning on. Intervals are over blocks of what takes
        `BLOCK_SECONDS` at the clip's own rate.
        """
        assert self._inputs.labels is not None
        assert self._inputs.clip is not None
        pictures, seen, times = [], [], []
        for place, run in enumerate(runs):
            delays = dict(run["delays_ms"])
            frames = [
                StreamedFrame(
                    captured=number / fps,
                    arrived=number / fps + delays[number] / 1000 if number in delays else None,
                    found=found if number in delays else (),
                )
                for number, found in enumerate(self._found)
            ]
            for frame, picture in zip(
                self._inputs.frames, self._inputs.labels.pictures, strict=True
            ):
                if frame / fps >= warmup + SETTLED_S:
                    pictures.append(picture)
                    seen += seen_at([frame / fps], frames)
                    times.append(1000.0 * place + frame / fps)  # no block has frames of two runs
        evaluation = Evaluation(replace(self._inputs.labels, pictures=tuple(pictures)), seen)
        units = blocks(times, seconds=BLOCK_SECONDS * self._inputs.clip.rate / fps)
        values = [evaluation.resampled(picks)[0] for picks in resamples(units)]
        return interval_of(evaluation.score.overall.ap50, values, units)


def _scaled(found: Detection, scale: float) -> Detection:
    x1, y1, x2, y2 = found.box
    return replace(found, box=(scale * x1, scale * y1, scale * x2, scale * y2))
