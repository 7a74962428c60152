"""Average precision is COCO's: checked on cases that are calculated by hand."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import pytest

from visionstack.accuracy.detection import Evaluation
from visionstack.accuracy.errors import LabelError
from visionstack.accuracy.labels import Box, Label, LabelledPicture, LabelSet

ONE: Box = (10, 10, 50, 50)
OTHER: Box = (60, 10, 100, 50)


@dataclass(frozen=True)
class Answer:
    label: str
    confidence: float
    box: Box


def labelled(*pictures: list[Label]) -> LabelSet:
    return LabelSet(
        source=Path("labels.json"),
        classes=("person", "cat"),
        pictures=tuple(
            LabelledPicture(name=f"{number}.jpg", frame=None, size=None, labels=tuple(labels))
            for number, labels in enumerate(pictures)
        ),
    )


def person(box: Box, *, ignore: bool = False) -> Label:
    return Label(name="person", box=box, ignore=ignore)


def test_everything_found_where_it_is_gives_one() -> None:
    labels = labelled([person(ONE)], [person(OTHER), Label(name="cat", box=ONE)])
    found = [
        [Answer("person", 0.9, ONE)],
        [Answer("person", 0.3, OTHER), Answer("cat", 0.5, ONE)],
    ]
    score = Evaluation(labels, found).score
    assert (score.pictures, score.overall.objects) == (2, 3)
    assert score.overall.ap50 == score.overall.ap50_95 == pytest.approx(1)
    assert score.by_class["cat"].objects == 1
    assert score.by_size["medium"] == pytest.approx(1)
    assert math.isnan(score.by_size["large"])


def test_half_of_the_objects_give_the_points_up_to_half_recall() -> None:
    labels = labelled([person(ONE), person(OTHER)])
    score = Evaluation(labels, [[Answer("person", 0.9, ONE)]]).score
    assert score.by_class["person"].recall50 == pytest.approx(0.5)
    assert score.overall.ap50 == pytest.approx(51 / 101)


def test_a_surer_mistake_halves_the_precision() -> None:
    labels = labelled([person(ONE)])
    score = Evaluation(labels, [[Answer("person", 0.9, OTHER), Answer("person", 0.8, ONE)]]).score
    assert score.overall.ap50 == pytest.approx(0.5)


def test_a_box_of_half_the_height_counts_at_one_half_and_not_above() -> None:
    labels = labelled([person((0, 0, 40, 100))])
    score = Evaluation(labels, [[Answer("person", 0.9, (0, 0, 40, 62))]]).score
    assert score.overall.ap50 == pytest.approx(1)
    assert score.overall.ap50_95 == pytest.approx(0.3)  # at 0.50, 0.55 and 0.60 of ten
    half = Evaluation(labels, [[Answer("person", 0.9, (0, 0, 40, 49))]]).score
    assert half.overall.ap50 == 0


def test_what_is_ignored_is_neither_missed_nor_wrong() -> None:
    labels = labelled([person(ONE), person(OTHER, ignore=True)])
    without = Evaluation(labels, [[Answer("person", 0.9, ONE)]]).score
    also = Evaluation(labels, [[Answer("person", 0.9, OTHER), Answer("person", 0.8, ONE)]]).score
    assert without.overall.ap50 == also.overall.ap50 == pytest.approx(1)


def test_classes_that_are_not_labelled_do_not_count() -> None:
    labels = labelled([person(ONE)])
    score = Evaluation(labels, [[Answer("truck", 0.9, OTHER), Answer("person", 0.5, ONE)]]).score
    assert score.overall.ap50 == pytest.approx(1)
    assert math.isnan(score.by_class["cat"].ap50)


def test_nothing_found_is_zero() -> None:
    score = Evaluation(labelled([person(ONE)], []), [[], []]).score
    assert score.overall.ap50 == score.overall.recall50 == 0


def test_nothing_to_find_or_other_pictures_are_refused() -> None:
    with pytest.raises(LabelError, match="labels no object that counts"):
        Evaluation(labelled([person(ONE, ignore=True)]), [[]])
    with pytest.raises(LabelError, match="labels 1 pictures, and there are answers to 2"):
        Evaluation(labelled([person(ONE)]), [[], []])


def test_darknets_names_are_cocos() -> None:
    labels = LabelSet(
        source=Path("labels.json"),
        classes=("motorcycle", "potted plant"),
        pictures=(
            LabelledPicture(
                name="a.jpg", frame=None, size=None, labels=(Label(name="motorcycle", box=ONE),)
            ),
        ),
    )
    labels.check_classes(["motorbike", "pottedplant"])
    score = Evaluation(labels, [[Answer("motorbike", 0.9, ONE)]]).score
    assert score.by_class["motorcycle"].ap50 == pytest.approx(1)
