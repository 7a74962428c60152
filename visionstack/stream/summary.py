"""What a stream amounted to: counts, rate, percentiles, labels."""

from __future__ import annotations

import time
from collections import Counter, deque
from dataclasses import fields
from statistics import median
from typing import Any

from visionstack.stream.types import Answer, DroppedFrame, FailedFrame, Latency, StreamResult

SPLIT = ("uplink", "decode", "queue", "inference", "post", "downlink")
"""The parts of a latency, whose sum is its total."""


class StreamSummary:
    """Collects answers. Latencies are in milliseconds, from capture to result."""

    def __init__(self) -> None:
        self.results = self.failed = self.unchanged = self.predicted = 0
        self.dropped: Counter[str] = Counter()
        self.labels: Counter[str] = Counter()
        self.latencies: list[float] = []
        self._parts: dict[str, deque[float]] = {
            part: deque(maxlen=100) for part in ("total", *SPLIT)
        }
        self._first: float | None = None
        self._first_took = 0.0
        self._last = 0.0

    def add(self, answer: Answer) -> None:
        self._last = time.monotonic()
        if self._first is None:
            self._first = self._last
        match answer:
            case StreamResult():
                self.results += 1
                self.unchanged += answer.unchanged
                self.predicted += answer.predicted
                self.labels.update(detection.label for detection in answer.detections)
                if not self.latencies:
                    self._first_took = answer.latency.total / 1000
                self.latencies.append(answer.latency.total)
                for part, values in self._parts.items():
                    values.append(getattr(answer.latency, part))
            case DroppedFrame(where=where):
                self.dropped[where] += 1
            case FailedFrame():
                self.failed += 1

    @property
    def fps(self) -> float | None:
        """Results a second between the first answer and the last; None below two results, and for
        answers that came together: within less time than the first one took."""
        if self.results < 2 or self._first is None:
            return None
        between = self._last - self._first
        return None if between <= self._first_took else (self.results - 1) / between

    def recent(self, part: str) -> float:
        """Median of a latency part over the last results, of which there must be one."""
        return median(self._parts[part])


def answer_json(answer: Answer, *, name: str) -> dict[str, Any]:
    """One line of `visionstack stream --json`."""
    line: dict[str, Any] = {"frame": answer.sequence, "name": name}
    match answer:
        case StreamResult():
            line |= {
                "width": answer.width,
                "height": answer.height,
                "detections": [_detection_json(one) for one in answer.detections],
                "latency_ms": {
                    field.name: round(getattr(answer.latency, field.name), 3)
                    for field in fields(Latency)
                },
                "batch": answer.batch,
            }
            if answer.unchanged:
                line["unchanged"] = True
            if answer.predicted:
                line["predicted"] = True
        case DroppedFrame():
            line["dropped"] = answer.where
        case FailedFrame():
            line["error"] = {"code": answer.code, "message": answer.reason}
    return line


def _detection_json(one: Any) -> dict[str, Any]:
    line = {
        "label": one.label,
        "class_id": one.class_id,
        "confidence": round(one.confidence, 4),
        "box": [round(value, 2) for value in one.box],
    }
    if one.track is not None:
        line["track"] = one.track
    return line
