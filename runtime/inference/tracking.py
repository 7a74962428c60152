"""Tracking between key frames: detections get ids that stay with their objects.

ByteTrack (Zhang et al., "ByteTrack: Multi-Object Tracking by Associating Every Detection Box", ECCV
2022): tracks are first matched with the confident detections, and those left over with the
uncertain ones, which are often the same objects half hidden. Positions are predicted in between by
DeepSORT's Kalman filter (`runtime.inference.motion`). Like ByteTrack, and like Ultralytics' tracker
of that name, a match does not look at the class: a detector that wavers between car and truck keeps
the track, and the track's class is that of its last detection. Ultralytics' wants torch,
supervision's SciPy and Matplotlib, and a CPU server has none of them; the tests compare with the
first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import lap
import numpy as np

from runtime.inference import motion
from runtime.inference.motion import Floats

BoxXyxy = tuple[float, float, float, float]

CONFIDENT: Final = 0.25
UNCERTAIN: Final = 0.1
LOST_FRAMES: Final = 30
"""Ultralytics' bytetrack.yaml has the same three values."""
MOST_LOST: Final = 100
"""Lost objects that are remembered at once: of a stream of noise there would be thousands, each
with its filter, and matching grows with their square."""

_FIRST_COST: Final = 0.8
_SECOND_COST: Final = 0.5
_CONFIRMING_COST: Final = 0.7
_DUPLICATE_IOU: Final = 0.85


class Detected(Protocol):
    """What is tracked: `runtime.inference.detector.Detection` and the stream's own both fit."""

    @property
    def class_id(self) -> int: ...
    @property
    def confidence(self) -> float: ...
    @property
    def box(self) -> BoxXyxy:
        """(x1, y1, x2, y2)."""
        ...


@dataclass(frozen=True, slots=True)
class Track:
    """An object in one frame. In a predicted frame the box is the filter's and may leave the
    picture, and the confidence is that of the object's last detection."""

    id: int
    class_id: int
    confidence: float
    box: BoxXyxy


@dataclass(slots=True)
class _Object:
    id: int
    detection: Detected
    began: int
    seen: int
    confirmed: bool
    motion: Floats
    """State of its filter, (5, 4)."""
    lost: bool = False


class Tracker:
    """One stream's tracks. Not for several threads at once; ids begin at 1 and are never reused.

    confident: detections from here on begin tracks and are matched first.
    uncertain: detections between here and `confident` only continue tracks that nothing better
        continued; ask the detector for detections down to this.
    lost_frames: frames, predicted ones included, for which an object that was lost is remembered.
    provisional: report an object from its first sighting on. Without it an object has to be seen
        in two inferred frames running, as in ByteTrack's own program: fewer false alarms, but with
        key frames far apart an object that is there is hidden for as long.
    """

    def __init__(
        self,
        *,
        confident: float = CONFIDENT,
        uncertain: float = UNCERTAIN,
        lost_frames: int = LOST_FRAMES,
        provisional: bool = True,
    ) -> None:
        if not 0 <= uncertain <= confident <= 1:
            raise ValueError(
                "uncertain and confident lie between 0 and 1 in this order, "
                f"not at {uncertain} and {confident}"
            )
        if lost_frames < 0:
            raise ValueError(f"lost_frames is a number of frames, not {lost_frames}")
        self._confident = confident
        self._uncertain = uncertain
        self._lost_frames = lost_frames
        self._provisional = provisional
        self._objects: list[_Object] = []
        self._frame = 0
        self._last_id = 0

    def update(self, detections: Iterable[Detected]) -> list[Track]:
        """The tracks that are seen in a frame that was inferred, each with its detection's box."""
        self._advance()
        usable = [d for d in detections if d.confidence > self._uncertain and _has_area(d.box)]
        confident = [d for d in usable if d.confidence >= self._confident]
        uncertain = [d for d in usable if d.confidence < self._confident]
        known = [o for o in self._objects if o.confirmed]
        fresh = [o for o in self._objects if not o.confirmed]

        unseen, confident = self._match(known, confident, limit=_FIRST_COST, cost=_fused_cost)
        unseen = [o for o in unseen if not o.lost]
        unseen, _ = self._match(unseen, uncertain, limit=_SECOND_COST, cost=_iou_cost)
        for missing in unseen:
            missing.lost = True
        once, confident = self._match(fresh, confident, limit=_CONFIRMING_COST, cost=_fused_cost)
        begun = self._begin(confident)

        gone = {o.id for o in once} | {
            o.id for o in known if o.lost and self._frame - o.seen > self._lost_frames
        }
        self._objects = _without_duplicates([o for o in self._objects if o.id not in gone] + begun)
        self._forget_longest_lost()
        return [_track(o, o.detection.box) for o in self._reported()]

    def predict(self) -> list[Track]:
        """The tracks of the last inferred frame, where they should be in a frame that was not."""
        self._advance()
        reported = self._reported()
        boxes = motion.boxes(_states(reported)).tolist()
        return [_track(o, tuple(box)) for o, box in zip(reported, boxes, strict=True)]

    def _reported(self) -> list[_Object]:
        return [o for o in self._objects if not o.lost and (o.confirmed or self._provisional)]

    def _forget_longest_lost(self) -> None:
        lost = sorted((o for o in self._objects if o.lost), key=lambda o: o.seen, reverse=True)
        gone = {o.id for o in lost[MOST_LOST:]}
        if gone:
            self._objects = [o for o in self._objects if o.id not in gone]

    def _advance(self) -> None:
        self._frame += 1
        lost = np.array([o.lost for o in self._objects], bool)
        states = motion.advance(_states(self._objects), lost=lost)
        for tracked, state in zip(self._objects, states, strict=True):
            tracked.motion = state

    def _begin(self, detections: Sequence[Detected]) -> list[_Object]:
        begun = []
        for detection, state in zip(detections, motion.begin(_detected(detections)), strict=True):
            self._last_id += 1
            begun.append(
                _Object(
                    id=self._last_id,
                    detection=detection,
                    began=self._frame,
                    seen=self._frame,
                    confirmed=self._frame == 1,
                    motion=state,
                )
            )
        return begun

    def _match(
        self,
        objects: Sequence[_Object],
        detections: Sequence[Detected],
        *,
        limit: float,
        cost: Callable[[Sequence[_Object], Sequence[Detected]], Floats],
    ) -> tuple[list[_Object], list[Detected]]:
        """Give objects the detections that cost least in all. Returns what is left of both."""
        if not objects or not detections:
            return list(objects), list(detections)
        _, chosen, takers = lap.lapjv(cost(objects, detections), extend_cost=True, cost_limit=limit)
        matched = [o for o, index in zip(objects, chosen, strict=True) if index >= 0]
        seen = [detections[index] for index in chosen if index >= 0]
        states = motion.correct(_states(matched), _detected(seen))
        for tracked, detection, state in zip(matched, seen, states, strict=True):
            tracked.detection, tracked.motion = detection, state
            tracked.seen = self._frame
            tracked.confirmed, tracked.lost = True, False
        return (
            [o for o, index in zip(objects, chosen, strict=True) if index < 0],
            [d for d, index in zip(detections, takers, strict=True) if index < 0],
        )


def _iou_cost(objects: Sequence[_Object], detections: Sequence[Detected]) -> Floats:
    return 1 - _iou(_boxes(objects), _detected(detections))


def _fused_cost(objects: Sequence[_Object], detections: Sequence[Detected]) -> Floats:
    """Overlap weighed by confidence, as ByteTrack's own program does in its first stage."""
    confidence = np.array([d.confidence for d in detections])
    fused: Floats = _iou(_boxes(objects), _detected(detections)) * confidence
    return 1 - fused


def _states(objects: Sequence[_Object]) -> Floats:
    return np.array([o.motion for o in objects], np.float64).reshape(-1, 5, 4)


def _boxes(objects: Sequence[_Object]) -> Floats:
    return motion.boxes(_states(objects))


def _detected(detections: Sequence[Detected]) -> Floats:
    return np.array([d.box for d in detections], np.float64).reshape(-1, 4)


def _iou(one: Floats, other: Floats) -> Floats:
    """Of each box of (n, 4) with each of (m, 4)."""
    left, top, right, bottom = one.T[..., None]
    x1, y1, x2, y2 = other.T
    width = np.minimum(right, x2) - np.maximum(left, x1)
    height = np.minimum(bottom, y2) - np.maximum(top, y1)
    shared = width.clip(0) * height.clip(0)
    overlap: Floats = shared / ((right - left) * (bottom - top) + (x2 - x1) * (y2 - y1) - shared)
    return overlap


def _without_duplicates(objects: list[_Object]) -> list[_Object]:
    """Where a lost object lies on a seen one they are the same: the one known longer stays.

    ByteTrack's own program leaves the object out of this frame when that is the lost one; here it
    takes the other's sighting over, so that what was surely seen is reported.
    """
    seen = [o for o in objects if not o.lost]
    lost = [o for o in objects if o.lost]
    if not seen or not lost:
        return objects
    overlap = _iou(_boxes(seen), _boxes(lost))
    twice: set[int] = set()
    for row, column in zip(*np.nonzero(overlap > _DUPLICATE_IOU), strict=True):
        one, other = seen[row], lost[column]
        if one.id in twice or not other.lost:
            continue
        if one.seen - one.began > other.seen - other.began:
            twice.add(other.id)
        else:
            twice.add(one.id)
            other.detection, other.motion, other.seen = one.detection, one.motion, one.seen
            other.confirmed, other.lost = True, False
    return [o for o in objects if o.id not in twice]


def _has_area(box: BoxXyxy) -> bool:
    x1, y1, x2, y2 = box
    return all(map(math.isfinite, box)) and x2 > x1 and y2 > y1


def _track(tracked: _Object, box: BoxXyxy) -> Track:
    detection = tracked.detection
    return Track(tracked.id, detection.class_id, detection.confidence, box)
