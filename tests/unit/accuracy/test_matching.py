"""Objects and detections are paired as a reader of the pictures would."""

from __future__ import annotations

from tests.unit.accuracy.test_detection import ONE, Answer, person
from tests.unit.accuracy.test_detection import OTHER as ELSEWHERE
from visionstack.accuracy.labels import Label
from visionstack.accuracy.matching import NOTHING, OTHER, confusion, match


def test_found_missed_wrong_and_confused() -> None:
    labels = [person(ONE), Label(name="cat", box=ELSEWHERE), person((0, 100, 40, 180))]
    found = [
        Answer("person", 0.9, ONE),
        Answer("person", 0.8, ELSEWHERE),
        Answer("cat", 0.7, (200, 200, 240, 240)),
    ]
    matching = match(labels, found)
    assert matching.pairs == ((0, 0),)
    assert matching.confused == ((1, 1),)
    assert matching.missed == (2,)
    assert matching.wrong == (2,)
    assert matching.errors == 3
    assert confusion(["person", "cat"], [(labels, found, matching)]) == {
        ("person", "person"): 1,
        ("cat", "person"): 1,
        ("person", NOTHING): 1,
        (NOTHING, "cat"): 1,
    }


def test_a_second_box_on_one_object_is_wrong_and_the_surer_is_taken() -> None:
    found = [Answer("person", 0.5, ONE), Answer("person", 0.9, ONE)]
    matching = match([person(ONE)], found)
    assert matching.pairs == ((0, 1),)
    assert matching.wrong == (0,)


def test_what_lies_on_an_object_that_does_not_count_is_not_wrong() -> None:
    matching = match([person(ONE, ignore=True)], [Answer("person", 0.9, ONE)])
    assert matching.errors == 0


def test_an_unlabelled_class_on_an_object_is_another_class_and_elsewhere_not_counted() -> None:
    labels = [person(ONE)]
    found = [Answer("truck", 0.9, ONE), Answer("truck", 0.9, ELSEWHERE)]
    counts = confusion(["person"], [(labels, found, match(labels, found))])
    assert counts == {("person", OTHER): 1}
