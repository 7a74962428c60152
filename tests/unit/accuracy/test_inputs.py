"""Labels and what they belong to, and what is said where the two do not fit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from visionstack.accuracy.errors import LabelError
from visionstack.accuracy.inputs import open_inputs
from visionstack.errors import UsageError

SIZE = (64, 48)


def clip(folder: Path, *, frames: int = 4, rate: float = 10.0) -> Path:
    path = folder / "clip.avi"
    film = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), rate, SIZE)
    for number in range(frames):
        film.write(np.full((SIZE[1], SIZE[0], 3), 60 * number, np.uint8))
    film.release()
    return path


def coco(folder: Path, *images: dict[str, Any]) -> Path:
    path = folder / "labels.json"
    path.write_text(
        json.dumps(
            {
                "categories": [{"id": 1, "name": "person"}],
                "images": [
                    {"id": number, "width": SIZE[0], "height": SIZE[1], **image}
                    for number, image in enumerate(images)
                ],
                "annotations": [{"id": 1, "image_id": 0, "category_id": 1, "bbox": [1, 1, 20, 20]}],
            }
        )
    )
    return path


def test_labels_of_pictures_find_them_beside_the_file_or_in_a_folder(tmp_path: Path) -> None:
    other = tmp_path / "pictures"
    other.mkdir()
    Image.new("RGB", SIZE).save(other / "a.jpg")
    labels = coco(tmp_path, {"file_name": "a.jpg"})
    with pytest.raises(LabelError, match=r"labels a\.jpg, and there is no"):
        open_inputs(labels)
    found = open_inputs(other, labels=labels)
    assert [one.pixels.shape for one in found.read()] == [(SIZE[1], SIZE[0], 3)]
    assert found.times == [None]
    (other / "a.jpg").rename(tmp_path / "a.jpg")
    assert open_inputs(labels).files == (tmp_path / "a.jpg",)


def test_a_picture_of_another_size_than_its_labels_is_refused(tmp_path: Path) -> None:
    Image.new("RGB", (32, 48)).save(tmp_path / "a.jpg")
    found = open_inputs(coco(tmp_path, {"file_name": "a.jpg"}))
    with pytest.raises(LabelError, match=r"at 64x48 pixels, and the picture has 32x48"):
        list(found.read())


def test_labelled_frames_come_in_order_with_their_times(tmp_path: Path) -> None:
    clip(tmp_path)
    labels = coco(
        tmp_path,
        {"file_name": "clip.avi", "frame_index": 3},
        {"file_name": "clip.avi", "frame_index": 1},
    )
    found = open_inputs(labels)
    assert found.frames == (1, 3)
    assert found.times == pytest.approx([0.1, 0.3])
    assert found.labels is not None
    assert [len(one.labels) for one in found.labels.pictures] == [0, 1]
    assert [round(float(one.pixels.mean())) for one in found.read()] == pytest.approx(
        [60, 180], abs=2
    )


def test_a_clip_that_does_not_fit_its_labels_is_refused(tmp_path: Path) -> None:
    film = clip(tmp_path)
    ground_truth = tmp_path / "gt.txt"
    ground_truth.write_text("1,1,1,1,20,20\n5,1,1,1,20,20\n")
    with pytest.raises(LabelError, match=r"gt\.txt, line 2: frame 5 is not one of the clip's 4"):
        open_inputs(film, labels=ground_truth)
    assert len(open_inputs(film, labels=ground_truth, cut=True).frames) == 4
    with pytest.raises(LabelError, match=r"frame 9 of clip\.avi, and the clip has 4 frames"):
        open_inputs(coco(tmp_path, {"file_name": "clip.avi", "frame_index": 9}))
    twice = [{"file_name": "clip.avi", "frame_index": 1}] * 2
    with pytest.raises(LabelError, match="labels frame 1 twice"):
        open_inputs(coco(tmp_path, *twice))
    with pytest.raises(LabelError, match=r"labels other\.avi, and the clip is clip\.avi"):
        open_inputs(film, labels=coco(tmp_path, {"file_name": "other.avi", "frame_index": 1}))
    with pytest.raises(LabelError, match="several clips"):
        open_inputs(
            coco(tmp_path, {"file_name": "clip.avi", "frame_index": 1}, {"file_name": "a.jpg"})
        )


def test_labels_without_their_clip_and_two_labels_are_refused(tmp_path: Path) -> None:
    ground_truth = tmp_path / "gt.txt"
    ground_truth.write_text("1,1,1,1,20,20\n")
    with pytest.raises(UsageError, match="does not say which clip it labels"):
        open_inputs(ground_truth)
    with pytest.raises(UsageError, match="are both labels"):
        open_inputs(coco(tmp_path, {"file_name": "a.jpg"}), labels=ground_truth)
    with pytest.raises(UsageError, match="There is no"):
        open_inputs(tmp_path / "gone.json")


def test_pictures_alone_have_no_labels_and_folders_are_classes(tmp_path: Path) -> None:
    Image.new("RGB", SIZE).save(tmp_path / "a.jpg")
    assert open_inputs(tmp_path).labels is None
    (tmp_path / "cat").mkdir()
    (tmp_path / "a.jpg").rename(tmp_path / "cat" / "a.jpg")
    found = open_inputs(tmp_path)
    assert found.classes is not None
    assert found.classes.classes == ("cat",)
