"""Which detection is which object, at one confidence: what is missed, wrong or confused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from visionstack.accuracy.detection import Found
from visionstack.accuracy.labels import Box, Label
from visionstack.accuracy.names import coco_name

SHOWN: Final = 0.3
"""Confidence from which a detection is taken for an answer."""
_OVERLAP: Final = 0.5
NOTHING: Final = "nothing"
OTHER: Final = "another class"


@dataclass(frozen=True, slots=True, kw_only=True)
class Matching:
    """One picture's objects and detections, by their places in the two lists.

    `pairs` overlap by at least a half and have one class; `confused` overlap, of two classes.
    What lies on an object that does not count is in none of these.
    """

    pairs: tuple[tuple[int, int], ...]
    confused: tuple[tuple[int, int], ...]
    missed: tuple[int, ...]
    wrong: tuple[int, ...]

    @property
    def errors(self) -> int:
        """A confusion is one, as are an object missed and a detection of nothing."""
        return len(self.confused) + len(self.missed) + len(self.wrong)


def match(labels: Sequence[Label], found: Sequence[Found]) -> Matching:
    """The surest detection first takes the free object that it overlaps most, its class first."""
    order = sorted(range(len(found)), key=lambda place: -found[place].confidence)
    free = {place for place, label in enumerate(labels) if not label.ignore}
    pairs: list[tuple[int, int]] = []
    left: list[int] = []
    for place in order:
        taken = _best(labels, free, found[place], same=True)
        if taken is None:
            left.append(place)
        else:
            free.discard(taken)
            pairs.append((taken, place))
    ignored = [label for label in labels if label.ignore]
    confused: list[tuple[int, int]] = []
    wrong: list[int] = []
    for place in left:
        taken = _best(labels, free, found[place], same=False)
        if taken is not None:
            free.discard(taken)
            confused.append((taken, place))
        elif not any(overlap(label.box, found[place].box) >= _OVERLAP for label in ignored):
            wrong.append(place)
    return Matching(
        pairs=tuple(pairs), confused=tuple(confused), missed=tuple(sorted(free)), wrong=tuple(wrong)
    )


def confusion(
    classes: Sequence[str],
    pictures: Sequence[tuple[Sequence[Label], Sequence[Found], Matching]],
) -> Counter[tuple[str, str]]:
    """How often (the object's class, the class found): `nothing` where there is none."""
    known = {coco_name(name): name for name in classes}
    counts: Counter[tuple[str, str]] = Counter()
    for labels, found, matching in pictures:
        for truth, answer in (*matching.pairs, *matching.confused):
            name = known.get(coco_name(found[answer].label), OTHER)
            counts[labels[truth].name, name] += 1
        counts.update((labels[truth].name, NOTHING) for truth in matching.missed)
        counts.update(
            (NOTHING, known[coco_name(found[answer].label)])
            for answer in matching.wrong
            if coco_name(found[answer].label) in known
        )
    return counts


def overlap(one: Box, other: Box) -> float:
    """Intersection over union."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    both = width * height
    return both / (_area(one) + _area(other) - both)


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _best(labels: Sequence[Label], free: set[int], found: Found, *, same: bool) -> int | None:
    name = coco_name(found.label)
    candidates = [
        (overlap(labels[place].box, found.box), -place)
        for place in free
        if not same or coco_name(labels[place].name) == name
    ]
    most, place = max(candidates, default=(0.0, 0))
    return -place if most >= _OVERLAP else None
