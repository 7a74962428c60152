"""Decoding and suppression, held to Ultralytics' and OpenCV's own and to the plain formulas."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.inference.boxes import (
    MAX_DETECTIONS,
    Boxes,
    decode_anchor_free,
    decode_darknet,
    decode_end_to_end,
    suppress,
)
from visionstack.models.ultralytics_models import import_tasks
from visionstack.paths import MODELS

ANCHORS = (
    ((81.0, 82.0), (135.0, 169.0), (344.0, 319.0)),
    ((10.0, 14.0), (23.0, 27.0), (37.0, 58.0)),
)


def random_heads(seed: int, classes: int = 5) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    shapes = [(3 * (5 + classes), 13, 13), (3 * (5 + classes), 26, 26)]
    return [(random.standard_normal(shape) * 2 - 1).astype(np.float32) for shape in shapes]


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def plain_darknet(heads: list[np.ndarray], confidence: float) -> list[tuple[float, ...]]:
    """The paper's formulas, cell by cell."""
    found = []
    for head, anchors in zip(heads, ANCHORS, strict=True):
        channels, rows, columns = head.shape
        for number, (width, height) in enumerate(anchors):
            part = head[number * channels // 3 : (number + 1) * channels // 3]
            for row in range(rows):
                for column in range(columns):
                    tx, ty, tw, th, objectness, *scores = part[:, row, column].tolist()
                    best = int(np.argmax(scores))
                    score = sigmoid(objectness) * sigmoid(scores[best])
                    if score <= confidence:
                        continue
                    x = (sigmoid(tx) + column) * 416 / columns
                    y = (sigmoid(ty) + row) * 416 / rows
                    w, h = width * math.exp(tw), height * math.exp(th)
                    found.append((x - w / 2, y - h / 2, x + w / 2, y + h / 2, score, best))
    return found


@pytest.mark.parametrize("confidence", [0.0, 0.2, 0.5, 0.9])
def test_darknet_heads_decode_as_the_paper_says(confidence: float) -> None:
    heads = random_heads(1)
    boxes = decode_darknet(heads, anchors=ANCHORS, size=(416, 416), confidence=confidence)
    plain = np.array(sorted(plain_darknet(heads, confidence), key=lambda row: row[4]))
    order = np.argsort(boxes.confidence)
    assert len(boxes) == len(plain)
    if len(plain):
        assert np.allclose(boxes.confidence[order], plain[:, 4], atol=1e-6)
        assert np.allclose(boxes.xyxy[order], plain[:, :4], rtol=1e-5, atol=1e-3)
        assert (boxes.class_id[order] == plain[:, 5]).all()


def test_a_certain_object_is_never_lost_to_rounding() -> None:
    heads = [np.full_like(head, -20) for head in random_heads(0)]
    heads[0][4, 6, 6] = heads[0][7, 6, 6] = 100
    boxes = decode_darknet(heads, anchors=ANCHORS, size=(416, 416), confidence=0.999)
    assert boxes.class_id.tolist() == [2]
    assert boxes.confidence[0] == pytest.approx(1)
    assert decode_darknet(heads, anchors=ANCHORS, size=(416, 416), confidence=1.0).xyxy.size == 0


def anchor_free(seed: int, boxes: int = 2000, classes: int = 6) -> np.ndarray:
    random = np.random.default_rng(seed)
    centre = random.uniform(0, 416, (2, boxes))
    extent = random.uniform(4, 120, (2, boxes))
    scores = random.uniform(0, 1, (classes, boxes)) ** 6
    return np.concatenate([centre, extent, scores]).astype(np.float32)


def clustered(seed: int) -> np.ndarray:
    """Many boxes about a few places, so that suppression has a lot to do."""
    random = np.random.default_rng(seed)
    output = anchor_free(seed, 600)
    places = random.uniform(50, 350, (2, 12)).astype(np.float32)
    output[:2] = places[:, random.integers(0, 12, 600)] + random.normal(0, 6, (2, 600))
    output[2:4] = 60 + random.normal(0, 8, (2, 600))
    return output


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("iou", [0.3, 0.45, 0.7])
@pytest.mark.parametrize("make", [anchor_free, clustered])
def test_the_result_is_that_of_ultralytics_non_max_suppression(make, iou: float, seed: int) -> None:
    import torch

    import_tasks(MODELS / "cache")
    from ultralytics.utils.nms import TorchNMS, non_max_suppression

    output = make(seed)
    ours = suppress(decode_anchor_free([output], confidence=0.25), iou=iou)
    candidates = decode_anchor_free([output], confidence=0.25)
    try:
        (theirs,) = non_max_suppression(
            torch.from_numpy(output[None].copy()), conf_thres=0.25, iou_thres=iou
        )
        expected = theirs.numpy()
    except RuntimeError:
        # torchvision was imported elsewhere in this process and has no operators beside a CPU
        # torch: call what Ultralytics falls back on.
        moved = torch.from_numpy(candidates.xyxy + candidates.class_id[:, None] * 7680).float()
        kept = TorchNMS.nms(moved, torch.from_numpy(candidates.confidence), iou)[:300].numpy()
        expected = np.column_stack(
            [candidates.xyxy[kept], candidates.confidence[kept], candidates.class_id[kept]]
        )
    assert len(ours) == len(expected) > 0
    assert np.allclose(ours.xyxy, expected[:, :4], atol=1e-3)
    assert np.allclose(ours.confidence, expected[:, 4])
    assert (ours.class_id == expected[:, 5]).all()


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("family", ["darknet", "anchor-free", "clustered"])
def test_the_kept_boxes_are_those_of_opencv(family: str, seed: int) -> None:
    if family == "darknet":
        candidates = decode_darknet(
            random_heads(seed), anchors=ANCHORS, size=(416, 416), confidence=0.5
        )
    else:
        output = anchor_free(seed) if family == "anchor-free" else clustered(seed)
        candidates = decode_anchor_free([output], confidence=0.25)
    ours = suppress(candidates, iou=0.45, max_detections=100_000)
    corner, extent = candidates.xyxy[:, :2], candidates.xyxy[:, 2:] - candidates.xyxy[:, :2]
    kept = cv2.dnn.NMSBoxesBatched(
        np.hstack([corner, extent]).astype(np.float64).tolist(),
        candidates.confidence.tolist(),
        candidates.class_id.tolist(),
        0.0,
        0.45,
    )
    assert len(kept) > 10
    theirs = {tuple(candidates.xyxy[index].tolist()) for index in kept}
    assert {tuple(box) for box in ours.xyxy.tolist()} == theirs


COORDINATE = st.integers(0, 40)


def test_rows_of_a_network_without_suppression_are_taken_as_they_are() -> None:
    rows = [[10, 20, 30, 40, 0.5, 2], [11, 21, 31, 41, 0.9, 2], [0, 0, 0, 0, 0, 0]]
    boxes = decode_end_to_end([np.array(rows, np.float32)], confidence=0.3)
    # Best first; that both are of one object is the network's business.
    assert boxes.xyxy.tolist() == [[11, 21, 31, 41], [10, 20, 30, 40]]
    assert boxes.confidence.tolist() == [np.float32(0.9), 0.5]
    assert boxes.class_id.tolist() == [2, 2]
    assert len(decode_end_to_end([np.array(rows, np.float32)], confidence=0.9)) == 0


@st.composite
def some_boxes(draw: st.DrawFn) -> Boxes:
    rows = draw(
        st.lists(
            st.tuples(
                COORDINATE, COORDINATE, COORDINATE, COORDINATE, st.floats(0, 1), st.integers(0, 2)
            ),
            max_size=40,
        )
    )
    table = np.array(rows, np.float32).reshape(-1, 6)
    corner, extent = table[:, :2], table[:, 2:4]
    return Boxes(np.hstack([corner, corner + extent]), table[:, 4], table[:, 5].astype(np.int64))


def iou_of(one: np.ndarray, other: np.ndarray) -> float:
    width = max(0.0, min(one[2], other[2]) - max(one[0], other[0]))
    height = max(0.0, min(one[3], other[3]) - max(one[1], other[1]))
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    union = sum(areas) - width * height
    return width * height / union if union > 0 else 0.0


@settings(max_examples=200, deadline=None)
@given(some_boxes(), st.floats(0.1, 0.9))
def test_suppression_keeps_the_best_and_nothing_that_overlaps_it(boxes: Boxes, iou: float) -> None:
    kept = suppress(boxes, iou=iou)
    assert (np.diff(kept.confidence) <= 0).all()
    rows = list(zip(kept.xyxy, kept.class_id.tolist(), strict=True))
    for index, (box, class_id) in enumerate(rows):
        for other, other_class in rows[index + 1 :]:
            assert class_id != other_class or iou_of(box, other) <= iou + 1e-5
    # Everything dropped overlaps something better that was kept.
    survivors = {(*box.tolist(), class_id) for box, class_id in rows}
    for box, score, class_id in zip(
        boxes.xyxy, boxes.confidence, boxes.class_id.tolist(), strict=True
    ):
        if (*box.tolist(), class_id) in survivors:
            continue
        assert any(
            class_id == kept_class and kept_score >= score and iou_of(box, kept_box) > iou - 1e-5
            for kept_box, kept_score, kept_class in zip(
                kept.xyxy, kept.confidence, kept.class_id.tolist(), strict=True
            )
        )


@given(some_boxes())
def test_suppressing_twice_changes_nothing(boxes: Boxes) -> None:
    once = suppress(boxes, iou=0.5)
    twice = suppress(once, iou=0.5)
    assert np.array_equal(once.xyxy, twice.xyxy)


def test_many_and_few_candidates_take_the_same_decisions() -> None:
    many = decode_anchor_free([clustered(3)], confidence=0.01)
    assert len(many) > 256
    few = Boxes(many.xyxy[:200], many.confidence[:200], many.class_id[:200])
    far = Boxes(few.xyxy + 10_000, few.confidence * 0.1, few.class_id)
    both = Boxes(
        *(
            np.concatenate(pair)
            for pair in zip(
                (few.xyxy, few.confidence, few.class_id),
                (far.xyxy, far.confidence, far.class_id),
                strict=True,
            )
        )
    )
    alone, together = suppress(few, iou=0.4), suppress(both, iou=0.4)
    assert np.array_equal(together.xyxy[together.xyxy[:, 0] < 9_000], alone.xyxy)


def test_no_more_than_the_named_number_leave() -> None:
    grid = np.stack(np.meshgrid(np.arange(40), np.arange(40)), -1).reshape(-1, 2) * 10.0
    xyxy = np.hstack([grid, grid + 5]).astype(np.float32)
    scores = np.linspace(0.1, 0.9, len(xyxy), dtype=np.float32)
    kept = suppress(Boxes(xyxy, scores, np.zeros(len(xyxy), np.int64)), iou=0.5)
    assert len(kept) == MAX_DETECTIONS
    assert kept.confidence[0] == scores[-1]


def test_nothing_in_gives_nothing_out() -> None:
    empty = decode_anchor_free([np.zeros((10, 100), np.float32)], confidence=0.2)
    kept = suppress(empty, iou=0.5)
    assert kept.xyxy.shape == (0, 4)
    assert len(kept) == 0
