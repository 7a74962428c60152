"""How well detections that were not computed for a frame agree with those that would have been."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from runtime.inference.tracking import Detected, Track

IOU = 0.5


def matches(
    expected: Sequence[Detected], found: Sequence[Detected], *, iou: float = IOU
) -> list[tuple[int, int]]:
    """Pairs (expected, found) of one class with an overlap of at least `iou`, best first."""
    if not expected or not found:
        return []
    one = np.array([d.box for d in expected])[:, None]
    other = np.array([d.box for d in found])[None]
    extent = np.minimum(one[..., 2:], other[..., 2:]) - np.maximum(one[..., :2], other[..., :2])
    shared = extent.clip(0).prod(axis=-1)
    areas = [(b[..., 2:] - b[..., :2]).prod(axis=-1) for b in (one, other)]
    overlap = shared / np.maximum(areas[0] + areas[1] - shared, 1e-12)
    pairs: list[tuple[int, int]] = []
    for index in np.argsort(-overlap, axis=None):
        row, column = divmod(int(index), len(found))
        if overlap[row, column] < iou:
            break
        taken = any(row == r or column == c for r, c in pairs)
        if not taken and expected[row].class_id == found[column].class_id:
            pairs.append((row, column))
    return pairs


@dataclass
class Agreement:
    """Sums over frames; `frames` keeps (expected, found, matched) of each."""

    frames: list[tuple[int, int, int]] = field(default_factory=list)
    _same: Counter[tuple[int, int]] = field(default_factory=Counter)

    def add(self, expected: Sequence[Detected], found: Sequence[Detected]) -> None:
        """One frame: what inference says, and what was answered instead."""
        pairs = matches(expected, found)
        self.frames.append((len(expected), len(found), len(pairs)))
        for row, column in pairs:
            one, other = expected[row], found[column]
            if isinstance(one, Track) and isinstance(other, Track):
                self._same[(one.id, other.id)] += 1

    @property
    def recall(self) -> float:
        """Share of the expected detections that were answered."""
        return self._sum(2) / max(1, self._sum(0))

    @property
    def precision(self) -> float:
        """Share of the answered detections that were expected."""
        return self._sum(2) / max(1, self._sum(1))

    @property
    def same_id(self) -> float | None:
        """Share of matched tracks that have the id most of that object's matches have."""
        if not self._same:
            return None
        most: dict[int, int] = {}
        for (one, _), count in self._same.items():
            most[one] = max(most.get(one, 0), count)
        return sum(most.values()) / self._same.total()

    def to_json(self) -> dict[str, Any]:
        return {
            "recall": self.recall,
            "precision": self.precision,
            "same_id": self.same_id,
            "frames": self.frames,
        }

    def _sum(self, index: int) -> int:
        return sum(frame[index] for frame in self.frames)
