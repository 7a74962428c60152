"""How well detections that were not computed for a frame agree with those that would have been."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from runtime.inference.tracking import Detected, Track
from visionstack.accuracy.matching import overlap

IOU = 0.5


def matches(expected: Sequence[Detected], found: Sequence[Detected]) -> list[tuple[int, int]]:
    """Pairs (expected, found) of one class with an overlap of at least `IOU`, best first."""
    overlaps = [
        (overlap(one.box, other.box), row, column)
        for row, one in enumerate(expected)
        for column, other in enumerate(found)
        if one.class_id == other.class_id
    ]
    pairs: dict[int, int] = {}
    for shared, row, column in sorted(overlaps, key=lambda one: -one[0]):
        if shared >= IOU and row not in pairs and column not in pairs.values():
            pairs[row] = column
    return list(pairs.items())


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
