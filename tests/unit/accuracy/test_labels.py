"""Labels are read as they are meant, and what is wrong with them is said with its place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from visionstack.accuracy.coco import read_coco
from visionstack.accuracy.errors import LabelError
from visionstack.accuracy.labels import LabelSet
from visionstack.accuracy.motchallenge import read_mot
from visionstack.paths import SAMPLES

GOOD: dict[str, Any] = {
    "categories": [{"id": 1, "name": "person"}, {"id": 7, "name": "cat"}],
    "images": [
        {"id": 4, "file_name": "a.jpg", "width": 100, "height": 50},
        {"id": 5, "file_name": "b.jpg", "width": 100, "height": 50},
    ],
    "annotations": [
        {"id": 1, "image_id": 4, "category_id": 7, "bbox": [10, 20, 30, 10]},
        {"id": 2, "image_id": 4, "category_id": 1, "bbox": [0, 0, 5.5, 50], "iscrowd": 1},
    ],
}


def written(folder: Path, document: Any) -> Path:
    path = folder / "labels.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return path


def changed(part: str, index: int, **values: Any) -> dict[str, Any]:
    document = json.loads(json.dumps(GOOD))
    document[part][index] |= values
    return document


def without(part: str) -> dict[str, Any]:
    return {key: value for key, value in GOOD.items() if key != part}


def test_coco_boxes_become_corners_and_crowds_do_not_count(tmp_path: Path) -> None:
    labels = read_coco(written(tmp_path, GOOD))
    assert labels.classes == ("person", "cat")
    first, second = labels.pictures
    assert (first.name, first.size, first.frame) == ("a.jpg", (100, 50), None)
    assert [(one.name, one.box, one.ignore) for one in first.labels] == [
        ("cat", (10, 20, 40, 30), False),
        ("person", (0, 0, 5.5, 50), True),
    ]
    assert second.labels == ()
    assert labels.objects == 1


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("", r"labels\.json, line 1: it is no JSON"),
        ('{"images": [],\n "x"}', r"labels\.json, line 2: it is no JSON"),
        ("[]", "no COCO file"),
        (without("images"), "no COCO file"),
        (GOOD | {"images": []}, "images is not a list, or is empty"),
        (GOOD | {"annotations": [3]}, r"annotations\[0\] is not an object"),
        (changed("annotations", 1, id=1), r"annotations\[1\] \(id 1\): the id 1 is there twice"),
        (changed("images", 1, id=4), r"images\[1\] \(id 4\): the id 4 is there twice"),
        (changed("categories", 1, name="person"), "two categories 'person'"),
        (changed("annotations", 0, image_id=9), "no image with the id 9"),
        (changed("annotations", 0, category_id=2), "no category with the id 2"),
        (changed("annotations", 0, bbox=[1, 2, 3]), "bbox is not x, y, width, height"),
        (changed("annotations", 0, bbox=[1, 2, 3, "4"]), "bbox is not x, y, width, height"),
        (changed("annotations", 0, bbox=[1, 2, 0, 4]), "has no area"),
        (changed("annotations", 0, bbox=[90, 2, 30, 4]), r"\(90, 2\) to \(120, 6\) lies outside"),
        (changed("images", 0, width="100"), "width is not a whole number"),
        (changed("images", 0, file_name=""), "file_name is missing"),
        (changed("images", 0, file_name="/etc/a.jpg"), "leads out of the folder"),
        (changed("images", 0, file_name="a/../../b.jpg"), "leads out of the folder"),
    ],
)
def test_what_is_wrong_with_a_coco_file_is_said(
    tmp_path: Path, document: Any, message: str
) -> None:
    with pytest.raises(LabelError, match=message):
        read_coco(written(tmp_path, document))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(LabelError, match=r"gone\.json cannot be read"):
        read_coco(tmp_path / "gone.json")
    with pytest.raises(LabelError, match=r"gone\.txt cannot be read"):
        mot(tmp_path / "gone.txt")


def mot(path: Path, *, frames: int = 3, cut: bool = False) -> LabelSet:
    return read_mot(path, clip="a.avi", frames=frames, size=(100, 50), cut=cut)


def test_motchallenge_counts_frames_from_one_and_marks_what_does_not_count(tmp_path: Path) -> None:
    path = tmp_path / "gt.txt"
    path.write_text("1,7,10,20,30,10,1,-1,-1,-1\n3,7,11,20,30,10,0,-1,-1,-1\n3,8,1,1,5,5\n")
    labels = mot(path)
    assert [len(picture.labels) for picture in labels.pictures] == [1, 0, 2]
    assert [picture.frame for picture in labels.pictures] == [0, 1, 2]
    (first,) = labels.pictures[0].labels
    assert (first.box, first.track, first.ignore) == ((10, 20, 40, 30), 7, False)
    assert [label.ignore for label in labels.pictures[2].labels] == [True, False]


def test_only_pedestrians_count_in_files_with_classes(tmp_path: Path) -> None:
    path = tmp_path / "gt.txt"
    path.write_text("1,1,10,20,30,10,1,1,0.9\n1,2,10,20,30,10,1,3,0.9\n")
    assert [label.ignore for label in mot(path).pictures[0].labels] == [False, True]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no labels"),
        ("1,1,10,20,30,10\n\n1,1,10,20\n", r"gt\.txt, line 3: 4 numbers"),
        ("1,1,10,20,30,ten\n", r"line 1: not all of it are numbers"),
        ("1.5,1,10,20,30,10\n", "whole numbers"),
        ("0,1,10,20,30,10\n", "frame 0 is not one of the clip's 3"),
        ("1,1,10,20,30,10\n4,1,10,20,30,10\n", "line 2: frame 4 is not one of the clip's 3"),
        ("1,1,10,20,30,10\n1,1,11,20,30,10\n", "line 2: object 1 is in frame 1 twice"),
        ("1,1,95,20,30,10\n", "line 1: the box .* lies outside"),
        ("1,1,10,20,30,0\n", "has no area"),
    ],
)
def test_what_is_wrong_with_a_motchallenge_file_is_said(
    tmp_path: Path, text: str, message: str
) -> None:
    path = tmp_path / "gt.txt"
    path.write_text(text)
    with pytest.raises(LabelError, match=message):
        mot(path)


def test_a_clip_that_is_the_beginning_of_what_was_labelled_is_said_to_be(tmp_path: Path) -> None:
    path = tmp_path / "gt.txt"
    path.write_text("1,1,10,20,30,10\n4,1,10,20,30,10\n")
    assert mot(path, cut=True).objects == 1


def test_labels_of_other_pictures_are_refused(tmp_path: Path) -> None:
    labels = read_coco(written(tmp_path, GOOD))
    with pytest.raises(LabelError, match=r"a\.jpg at 100x50 pixels, and the picture has 200x100"):
        labels.check_size(labels.pictures[0], (200, 100))
    with pytest.raises(LabelError, match=r"labels cat, which the model does not know"):
        labels.check_classes(["person", "dog"])
    with pytest.raises(LabelError, match=r"a\.jpg, and the clip has 9 frames"):
        labels.frames(9)
    pedestrians = read_coco(SAMPLES / "ground_truth_pedestrians.json")
    with pytest.raises(LabelError, match=r"frame 297 .* clip has 297 frames"):
        pedestrians.frames(297)
