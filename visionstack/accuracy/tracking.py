"""MOTA, IDF1 and HOTA of tracks, by motrics.

MOTA counts what is missed, wrong or changes its id (Bernardin, Stiefelhagen 2008); IDF1 is the F1
of the best assignment of whole tracks (Ristani et al. 2016, arXiv:1609.01775); HOTA weighs finding
and following alike (Luiten et al. 2021, arXiv:2009.07736). Boxes match from an intersection over
union of 0.5 for the first two, and over 0.05 … 0.95 for HOTA.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from visionstack.accuracy.detection import Found
from visionstack.accuracy.errors import LabelError
from visionstack.accuracy.labels import LabelSet
from visionstack.accuracy.names import coco_name


class Tracked(Found, Protocol):
    """A detection with the id of its track."""

    @property
    def track(self) -> int | None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackingScore:
    """Of one clip; MOTA can be below zero, the others lie between 0 and 1."""

    frames: int
    objects: int
    """Different ones in the labels."""
    tracks: int
    """Different ids that were found."""
    mota: float
    idf1: float
    hota: float
    switches: int


def check_followed(labels: LabelSet) -> None:
    """Raises `LabelError` where the labels follow no objects, or those of several classes."""
    if any(label.track is None for picture in labels.pictures for label in picture.labels):
        raise LabelError(
            f"{labels.source} does not say which boxes are of one object.",
            remedy="MOTChallenge's gt.txt does, or `track_id` in a COCO file.",
        )
    if len(labels.classes) > 1:
        raise LabelError(f"{labels.source} labels several classes; tracks are scored for one.")


def score_tracks(labels: LabelSet, found: Sequence[Sequence[Tracked]]) -> TrackingScore:
    """Score the tracks found in each of the labelled frames, in their order.

    What lies on an object that does not count is left out first, as MOTChallenge does. Raises
    `LabelError` where the numbers of frames differ, or the labels follow no objects.
    """
    if len(found) != len(labels.pictures):
        raise LabelError(
            f"{labels.source} labels {len(labels.pictures)} frames, and there are answers to "
            f"{len(found)}."
        )
    check_followed(labels)
    import motrics

    name = coco_name(labels.classes[0])
    truth_ids, truth_boxes, ids, boxes = [], [], [], []
    for picture, answers in zip(labels.pictures, found, strict=True):
        tracked = [one for one in answers if one.track is not None and coco_name(one.label) == name]
        everything = _boxes([label.box for label in picture.labels])
        pairs = motrics.match_boxes(
            everything, _boxes([one.box for one in tracked]), iou_threshold=0.5
        ).matches
        ignored = {answer for label, answer in pairs if picture.labels[label].ignore}
        kept = [one for place, one in enumerate(tracked) if place not in ignored]
        counted = [label for label in picture.labels if not label.ignore]
        truth_ids.append([label.track for label in counted if label.track is not None])
        truth_boxes.append(_boxes([label.box for label in counted]))
        ids.append([one.track for one in kept if one.track is not None])
        boxes.append(_boxes([one.box for one in kept]))
    result = motrics.evaluate(
        motrics.Frames(ids=truth_ids, boxes=truth_boxes), motrics.Frames(ids=ids, boxes=boxes)
    )
    return TrackingScore(
        frames=len(found),
        objects=len({track for frame in truth_ids for track in frame}),
        tracks=len({track for frame in ids for track in frame}),
        mota=result.clear.mota,
        idf1=result.identity.idf1,
        hota=result.hota.hota,
        switches=result.clear.num_switches,
    )


def _boxes(boxes: Sequence[Sequence[float]]) -> np.typing.NDArray[np.float64]:
    return np.asarray(boxes, np.float64).reshape(-1, 4)
