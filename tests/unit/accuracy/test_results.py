"""Variants beside each other: intervals, ties, agreement, and what the report shows."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.unit.accuracy.test_detection import ONE, OTHER, Answer, labelled, person
from visionstack.accuracy.errors import LabelError
from visionstack.accuracy.folders import ClassifiedPicture, ClassSet
from visionstack.accuracy.inputs import Inputs
from visionstack.accuracy.labels import LabelSet
from visionstack.accuracy.outcome import Outcome
from visionstack.accuracy.report import report
from visionstack.accuracy.results import against_labels, agreement, differences
from visionstack.accuracy.variants import Answers, Variant, check_distinct, variants_of
from visionstack.errors import VisionstackError
from visionstack.report import html as page
from visionstack.report.sections import Picture, Pictures, Table

NUMBER = 12


def inputs(folder: Path, labels: LabelSet) -> Inputs:
    files = []
    for number in range(len(labels.pictures)):
        files.append(folder / f"{number}.png")
        cv2.imwrite(str(files[-1]), np.full((120, 160, 3), 90, np.uint8))
    names = tuple(file.name for file in files)
    return Inputs(name="labels.json", pictures=names, files=tuple(files), labels=labels)


def answers(name: str, found: list[list[Answer]], *, model: str = "yolov3-tiny") -> Answers:
    return Answers(
        name=name,
        model=model,
        version="0" * 16,
        engine="openvino",
        precision="fp32",
        trained=True,
        found=tuple(map(tuple, found)),
        milliseconds=(2.0,) * len(found),
    )


def everything() -> list[list[Answer]]:
    return [[Answer("person", 0.9, ONE), Answer("person", 0.8, OTHER)] for _ in range(NUMBER)]


def half() -> list[list[Answer]]:
    return [[Answer("person", 0.9, ONE)] for _ in range(NUMBER)]


@pytest.fixture
def two(tmp_path: Path) -> Inputs:
    return inputs(tmp_path, labelled(*[[person(ONE), person(OTHER)]] * NUMBER))


def test_a_model_that_finds_more_is_better_and_one_that_finds_the_same_a_tie(two: Inputs) -> None:
    rows = [
        against_labels(two, one)
        for one in (
            answers("all", everything()),
            answers("half", half()),
            answers("same", everything()),
        )
    ]
    said = [one.sentence for one in differences(rows, two)]
    assert said[0] == "all is better than half in AP50: +0.495 (+0.495 to +0.495)."
    assert said[1] == "all and same are a tie in AP50: +0.000 (+0.000 to +0.000)."
    assert said[2].startswith("same is better than half in AP50: -0.495")


def test_few_pictures_give_no_verdict(tmp_path: Path) -> None:
    few = inputs(tmp_path, labelled([person(ONE)]))
    rows = [
        against_labels(few, one)
        for one in (answers("a", [[Answer("person", 0.9, ONE)]]), answers("b", [[]]))
    ]
    (found,) = differences(rows, few)
    assert "1 pictures are too few for an interval" in found.sentence
    assert found.difference.verdict == "unknown"


def test_agreement_needs_no_labels_and_is_no_accuracy(tmp_path: Path) -> None:
    labels = labelled(*[[person(ONE)]] * NUMBER)
    plain = inputs(tmp_path, labels)
    unlabelled = Inputs(name="folder", pictures=plain.pictures, files=plain.files)
    reference = answers("reference", everything())
    found = agreement(unlabelled, reference, answers("half", half())).figure
    assert found.value == pytest.approx(2 / 3)  # precision 1, recall a half
    assert agreement(unlabelled, reference, reference).figure.value == 1
    with pytest.raises(LabelError, match="folder has no labels"):
        against_labels(unlabelled, reference)


def test_top_1_and_top_5_of_a_classifier(tmp_path: Path) -> None:
    classes = ClassSet(
        source=tmp_path,
        classes=("cat", "n01440764"),
        pictures=tuple(
            ClassifiedPicture(path=tmp_path / f"{n}.jpg", name="cat" if n % 2 else "n01440764")
            for n in range(NUMBER)
        ),
    )
    given = Inputs(
        name="x",
        pictures=("",) * NUMBER,
        files=tuple(one.path for one in classes.pictures),
        classes=classes,
    )
    # Cats are second; the others, named by id, first in half of the pictures and nowhere else.
    ranked = tuple(
        (("0", "dog"), ("1", "cat")) if n % 2 else (("n01440764" if n % 4 else "0", "fish"),)
        for n in range(NUMBER)
    )
    one = Answers(
        name="a", model="a", version="0", engine="e", precision="p", trained=True, ranked=ranked
    )
    figures = against_labels(given, one).figures
    assert figures["top 1"].value == pytest.approx(3 / NUMBER)
    assert figures["top 5"].value == pytest.approx(9 / NUMBER)
    assert figures["top 1"].low is not None


def test_variants_are_every_combination_and_none_twice() -> None:
    assert variants_of(["a", "b:torch"], ["openvino", "onnxruntime"], ["auto", "fp32"]) == [
        Variant(model="a", engine="openvino"),
        Variant(model="a", engine="openvino", precision="fp32"),
        Variant(model="a", engine="onnxruntime"),
        Variant(model="a", engine="onnxruntime", precision="fp32"),
        Variant(model="b", engine="torch"),
        Variant(model="b", engine="torch", precision="fp32"),
    ]
    with pytest.raises(VisionstackError, match="a was asked for twice"):
        check_distinct([answers("a", []), answers("a", [])])


def test_three_kinds_of_figure_stand_in_three_tables(two: Inputs) -> None:
    all_, part = answers("all", everything()), answers("half", half(), model="unknown")
    outcome = Outcome(inputs=two, answers=[all_, part], reference="all")
    outcome.scored = [against_labels(two, one) for one in outcome.answers]
    outcome.compared = differences(outcome.scored, two)
    outcome.agreements = [agreement(two, all_, part)]
    document = report(outcome)
    tables = {one.title: one for one in document.sections if isinstance(one, Table)}
    assert len(tables["Against labels"].rows) == 2
    assert len(tables["Agreement with all"].rows) == 1
    assert [row.cells[0] for row in tables["Published by others"].rows] == ["yolov3-tiny"]
    plain = json.loads(json.dumps(outcome.to_json(), allow_nan=False))
    assert plain["against_labels"][0]["AP50"]["value"] == pytest.approx(1)
    assert plain["agreement"]["rows"][0]["f1"]["value"] == pytest.approx(2 / 3)
    assert plain["published"][0]["value"] == pytest.approx(0.331)
    assert plain["differences"][0]["verdict"] == "more"


def test_the_worst_pictures_show_truth_beside_what_was_found(two: Inputs) -> None:
    found = everything()
    found[7] = [Answer("person", 0.6, (100, 60, 150, 110)), Answer("truck", 0.9, ONE)]
    outcome = Outcome(inputs=two, answers=[answers("all", found)])
    outcome.scored = [against_labels(two, outcome.answers[0])]
    document = report(outcome)
    (worst,) = (one for one in document.sections if isinstance(one, Pictures))
    assert worst.pairs
    truth, seen = worst.pictures
    assert isinstance(truth, Picture)
    assert truth.caption == "7.png: labelled; 2 missed"
    assert [(box.label, box.confidence) for box in truth.boxes] == [("missed person", None)] * 2
    assert [(box.label, box.confidence) for box in seen.boxes] == [("wrong person", 0.6)]
    html = page.render(document)
    assert ">missed person</text>" in html
    assert ">wrong person 60%</text>" in html
    assert 'class="grid pairs"' in html
    (matrix,) = (s for s in document.sections if s.title.startswith("Confusion"))
    assert isinstance(matrix, Table)
    assert list(matrix.columns) == ["labelled \\ found", "person", "another class", "nothing"]
    assert [list(row.cells) for row in matrix.rows] == [
        ["person", "22", "1", "1"],
        ["nothing", "1", "·", "·"],
    ]
