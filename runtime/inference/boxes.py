"""Network outputs to boxes: the families' decoders and class-aware non-maximum suppression.

Not OpenCV's NMSBoxesBatched: it stops at no number of boxes, and 30,000 that do not overlap held a
thread for more than 100 s (here 2 s); up to 250 candidates it takes half the time.

Everything is numpy on one picture's outputs. A candidate is dropped on its logit, before any
sigmoid, because all but a few hundredths of a percent of them are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from runtime.inference.letterbox import Letterbox

Floats = NDArray[np.float32]
Raw = Sequence[NDArray[np.float32]]
"""One picture's outputs of the network, without the batch axis."""

MAX_CANDIDATES = 30_000
"""Best boxes that enter suppression; Ultralytics' `max_nms`."""
MAX_DETECTIONS = 300
"""Best boxes that leave it; Ultralytics' `max_det`."""
_MATRIX_UP_TO = 256


@dataclass(frozen=True, slots=True)
class Boxes:
    """Boxes of one picture, best first: xyxy (n, 4), confidence (n,), class_id (n,)."""

    xyxy: Floats
    confidence: Floats
    class_id: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.confidence)

    def in_source(self, letterbox: Letterbox) -> Boxes:
        """The same boxes in pixels of the source picture, for boxes in input pixels."""
        return Boxes(letterbox.to_source(self.xyxy), self.confidence, self.class_id)


def decode_darknet(
    raw: Raw,
    *,
    anchors: Sequence[Sequence[tuple[float, float]]],
    size: tuple[int, int],
    confidence: float,
) -> Boxes:
    """Candidates of YOLOv3's heads, each (anchors * (5 + classes), rows, columns) of logits.

    `anchors[head]` are (width, height) in input pixels, `size` the input's (width, height).
    Formulas: YOLOv3 (Redmon and Farhadi 2018), section 2.1: centre = (sigmoid(t) + cell) * stride,
    extent = anchor * exp(t), confidence = sigmoid(objectness) * sigmoid(class), best class only.
    """
    threshold = _logit(confidence)
    width, height = size
    found: list[tuple[Floats, Floats, NDArray[np.int64]]] = []
    for head, priors in zip(raw, anchors, strict=True):
        channels, rows, columns = head.shape
        cells = head.reshape(len(priors), channels // len(priors), rows * columns)
        anchor, cell = np.nonzero(cells[:, 4] > threshold)
        if not len(anchor):
            continue
        picked = cells[anchor, :, cell]
        scores = picked[:, 5:]
        best = scores.argmax(axis=1)
        score = _sigmoid(picked[:, 4]) * _sigmoid(scores[np.arange(len(best)), best])
        kept = score > confidence
        picked, anchor, cell = picked[kept], anchor[kept], cell[kept]
        step = np.array([width / columns, height / rows], np.float32)
        corner = np.stack([cell % columns, cell // columns], axis=1).astype(np.float32)
        centre = (_sigmoid(picked[:, :2]) + corner) * step
        with np.errstate(over="ignore"):
            half = np.exp(picked[:, 2:4]) * np.asarray(priors, np.float32)[anchor] / 2
        found.append((np.hstack([centre - half, centre + half]), score[kept], best[kept]))
    return _gathered(found)


def decode_anchor_free(raw: Raw, *, confidence: float) -> Boxes:
    """Candidates of Ultralytics' head: one output (4 + classes, boxes), centre, extent, scores."""
    (output,) = raw
    scores = output[4:]
    best_score = scores.max(axis=0)
    (index,) = np.nonzero(best_score > confidence)
    picked = output[:, index].T
    half = picked[:, 2:4] / 2
    xyxy = np.hstack([picked[:, :2] - half, picked[:, :2] + half])
    best = picked[:, 4:].argmax(axis=1)
    return _gathered([(xyxy.astype(np.float32), best_score[index], best)])


def decode_end_to_end(raw: Raw, *, confidence: float) -> Boxes:
    """Boxes of a network that needs no suppression: one output (boxes, 6), in input pixels.

    Rows are x1, y1, x2, y2, score, class, as YOLOv10 (Wang et al. 2024, arXiv:2405.14458) and its
    successors give them; rows that were filled up have a score of 0.
    """
    (output,) = raw
    picked = output[output[:, 4] > confidence].astype(np.float32)
    picked = picked[np.argsort(-picked[:, 4], kind="stable")]
    return Boxes(picked[:, :4], picked[:, 4], picked[:, 5].round().astype(np.int64))


def suppress(boxes: Boxes, *, iou: float, max_detections: int = MAX_DETECTIONS) -> Boxes:
    """Greedy non-maximum suppression within each class, best first.

    A box goes when its intersection over union with a better one of its class exceeds `iou`, as in
    Ultralytics' `non_max_suppression` and OpenCV's `NMSBoxesBatched`.
    """
    order = np.argsort(-boxes.confidence, kind="stable")[:MAX_CANDIDATES]
    xyxy, class_id = boxes.xyxy[order], boxes.class_id[order]
    area = (xyxy[:, 2] - xyxy[:, 0]) * (xyxy[:, 3] - xyxy[:, 1])
    alive = np.ones(len(order), bool)
    matrix = _overlapping(xyxy, area, class_id, iou=iou) if len(order) <= _MATRIX_UP_TO else None
    kept: list[int] = []
    for index in range(len(order)):
        if not alive[index]:
            continue
        kept.append(index)
        if len(kept) == max_detections:
            break
        if matrix is not None:
            alive &= ~matrix[index]
        else:
            rest = slice(index + 1, None)
            overlap = _iou(xyxy[index], xyxy[rest], area[index], area[rest])
            alive[rest] &= ~((overlap > iou) & (class_id[rest] == class_id[index]))
    chosen = order[kept]
    return Boxes(boxes.xyxy[chosen], boxes.confidence[chosen], boxes.class_id[chosen])


def _overlapping(
    xyxy: Floats, area: Floats, class_id: NDArray[np.int64], *, iou: float
) -> NDArray[np.bool_]:
    """(n, n): whether two boxes of one class overlap by more than `iou`."""
    overlap = _iou(xyxy[:, None], xyxy[None], area[:, None], area[None])
    return np.asarray((overlap > iou) & (class_id[:, None] == class_id[None]))


def _iou(one: Floats, other: Floats, one_area: Floats, other_area: Floats) -> Floats:
    corner = np.maximum(one[..., :2], other[..., :2])
    extent = np.minimum(one[..., 2:], other[..., 2:]) - corner
    np.maximum(extent, 0, out=extent)
    shared = extent[..., 0] * extent[..., 1]
    # A union of nothing (two empty boxes) overlaps by nothing.
    return np.asarray(shared / np.maximum(one_area + other_area - shared, np.float32(1e-12)))


def _gathered(found: list[tuple[Floats, Floats, NDArray[np.int64]]]) -> Boxes:
    if not found:
        none = np.empty(0, np.float32)
        return Boxes(none.reshape(0, 4), none, none.astype(np.int64))
    xyxy, score, class_id = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return Boxes(xyxy, score, class_id)


def _sigmoid(values: Floats) -> Floats:
    with np.errstate(over="ignore"):
        return np.asarray(1 / (1 + np.exp(-values)), np.float32)


def _logit(probability: float) -> float:
    if probability <= 0:
        return -math.inf
    return math.log(probability / (1 - probability)) if probability < 1 else math.inf
