"""Decoding and suppression exactly at their thresholds, and where there is nothing."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

from runtime.inference.boxes import (
    MAX_CANDIDATES,
    MAX_DETECTIONS,
    Boxes,
    decode_anchor_free,
    decode_darknet,
    decode_end_to_end,
    suppress,
)
from runtime.inference.letterbox import Letterbox
from visionstack.models.ultralytics_models import import_tasks
from visionstack.paths import MODELS

ANCHOR = (((10.0, 20.0),),)
SURE = 100.0
"""A logit whose sigmoid is 1 in 32 bits."""


def head(objectness: float, *, cells: int = 2) -> np.ndarray:
    """One anchor, one class that is sure, the object in the last cell of the last row."""
    made = np.full((6, cells, cells), -SURE, np.float32)
    made[:, -1, -1] = (0.0, 0.0, 0.0, 0.0, objectness, SURE)
    return made


def boxes(*rows: tuple[float, ...]) -> Boxes:
    table = np.array(rows, np.float32)
    return Boxes(table[:, :4], table[:, 4], table[:, 5].astype(np.int64))


def test_the_most_that_enter_and_leave_are_ultralytics_own() -> None:
    import_tasks(MODELS / "cache")
    from ultralytics.utils import nms

    defaults = inspect.signature(nms.non_max_suppression).parameters
    assert defaults["max_nms"].default == MAX_CANDIDATES
    assert defaults["max_det"].default == MAX_DETECTIONS


def test_a_cell_by_hand() -> None:
    """Cell (1, 1) of 2 x 2 in 64 x 32 pixels: centre (1.5 x 32, 1.5 x 16), extent 10 x 20."""
    found = decode_darknet([head(0.0)], anchors=ANCHOR, size=(64, 32), confidence=0.4)
    assert found.xyxy.tolist() == [[48 - 5, 24 - 10, 48 + 5, 24 + 10]]
    assert found.confidence.tolist() == [0.5]
    assert found.class_id.tolist() == [0]


@pytest.mark.parametrize(("confidence", "kept"), [(0.49, 1), (0.5, 0), (1.0, 0)])
def test_a_confidence_of_exactly_the_threshold_is_not_enough(confidence: float, kept: int) -> None:
    """As Ultralytics' `> conf_thres`; sigmoid(0) is one half."""
    found = decode_darknet([head(0.0)], anchors=ANCHOR, size=(64, 32), confidence=confidence)
    assert len(found) == kept


def test_a_threshold_of_nothing_lets_all_through_that_are_more_than_nothing() -> None:
    every = np.zeros((6, 2, 2), np.float32)
    assert len(decode_darknet([every], anchors=ANCHOR, size=(64, 32), confidence=0.0)) == 4


def test_a_head_without_an_object_does_not_hide_those_of_the_next() -> None:
    found = decode_darknet(
        [head(-SURE), head(0.0)], anchors=ANCHOR * 2, size=(64, 32), confidence=0.3
    )
    assert len(found) == 1
    none = decode_darknet([head(-SURE)], anchors=ANCHOR, size=(64, 32), confidence=0.3)
    assert (none.xyxy.shape, len(none), none.class_id.dtype) == ((0, 4), 0, np.int64)


def test_each_head_has_its_anchors() -> None:
    with pytest.raises(ValueError, match="zip"):
        decode_darknet([head(0.0)], anchors=ANCHOR * 2, size=(64, 32), confidence=0.3)


def test_the_other_families_want_more_than_the_threshold_too() -> None:
    output = np.array([[10, 10], [20, 20], [4, 4], [8, 8], [0.25, 0.26]], np.float32)
    found = decode_anchor_free([output], confidence=0.25)
    assert found.xyxy.tolist() == [[8, 16, 12, 24]]
    assert found.confidence.tolist() == [np.float32(0.26)]
    rows = np.array([[1, 2, 3, 4, 0.25, 7], [5, 6, 7, 8, 0.26, 2]], np.float32)
    taken = decode_end_to_end([rows], confidence=0.25)
    assert (taken.xyxy.tolist(), taken.class_id.tolist()) == ([[5, 6, 7, 8]], [2])


def test_boxes_in_the_source_are_the_same_boxes_on_the_pictures_own_pixels() -> None:
    """200 x 100 in 416 x 416 is scaled by 2.08 to 416 x 208, with 104 rows above and below it."""
    letterbox = Letterbox.fit(source=(200, 100), target=(416, 416))
    found = boxes((0, 104, 416, 312, 0.9, 3), (104, 104, 208, 208, 0.8, 1)).in_source(letterbox)
    assert found.xyxy == pytest.approx(np.array([[0, 0, 200, 100], [50, 0, 100, 50]]), abs=1e-4)
    assert found.confidence.tolist() == [np.float32(0.9), np.float32(0.8)]
    assert found.class_id.tolist() == [3, 1]


@pytest.mark.parametrize("company", [0, 300], ids=["few", "many"])
@pytest.mark.parametrize(("iou", "kept"), [(0.49, 1), (0.5, 2), (0.51, 2)])
def test_an_overlap_of_exactly_the_threshold_is_allowed(
    company: int, iou: float, kept: int
) -> None:
    """Half of one box is the other: an overlap of one half. Both ways of suppressing agree."""
    far = [(1000.0 + 10 * n, 0.0, 1005.0 + 10 * n, 5.0, 0.1, 0.0) for n in range(company)]
    found = suppress(
        boxes((0, 0, 2, 2, 0.9, 0), (0, 0, 2, 1, 0.8, 0), *far), iou=iou, max_detections=1000
    )
    assert len(found) == kept + company


@pytest.mark.parametrize("company", [0, 300], ids=["few", "many"])
def test_boxes_below_a_pixel_overlap_like_larger_ones_and_boxes_of_nothing_not_at_all(
    company: int,
) -> None:
    far = [(1000.0 + 10 * n, 0.0, 1005.0 + 10 * n, 5.0, 0.1, 0.0) for n in range(company)]
    small = suppress(
        boxes((0, 0, 0.5, 0.5, 0.9, 0), (0, 0, 0.5, 0.5, 0.8, 0), *far),
        iou=0.45,
        max_detections=1000,
    )
    assert len(small) == 1 + company
    nothing = suppress(
        boxes((1, 1, 1, 1, 0.9, 0), (1, 1, 1, 1, 0.8, 0), *far), iou=0.45, max_detections=1000
    )
    assert len(nothing) == 2 + company


def test_diagonal_neighbours_and_other_classes_are_left_alone() -> None:
    found = suppress(
        boxes((0, 0, 10, 10, 0.9, 0), (20, 20, 30, 30, 0.8, 0), (0, 0, 10, 10, 0.7, 1)), iou=0.1
    )
    assert found.confidence.tolist() == [np.float32(n) for n in (0.9, 0.8, 0.7)]
