"""Labels that come with their pictures: Ultralytics' data.yaml, and a folder a class."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from visionstack.accuracy.errors import LabelError
from visionstack.accuracy.folders import read_class_folders
from visionstack.accuracy.inputs import open_inputs
from visionstack.accuracy.yolo import read_yolo

YAML = "path: .\nval: images/val\nnames: {0: person, 1: cat}\n"


def picture(path: Path, size: tuple[int, int] = (200, 100)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size).save(path)
    return path


def data(folder: Path, *, yaml: str = YAML, labels: str | None = "1 0.5 0.5 0.2 0.4\n") -> Path:
    picture(folder / "images" / "val" / "a.jpg")
    if labels is not None:
        text = folder / "labels" / "val" / "a.txt"
        text.parent.mkdir(parents=True, exist_ok=True)
        text.write_text(labels)
    path = folder / "data.yaml"
    path.write_text(yaml)
    return path


@pytest.mark.parametrize("names", ["names: {0: person, 1: cat}", "names: [person, cat]"])
def test_shares_become_pixels(tmp_path: Path, names: str) -> None:
    labels = read_yolo(data(tmp_path, yaml=f"val: images/val\n{names}\n"))
    assert labels.classes == ("person", "cat")
    (one,) = labels.pictures
    assert one.size == (200, 100)
    (label,) = one.labels
    assert label.name == "cat"
    assert label.box == pytest.approx((80, 30, 120, 70))


def test_the_bounds_of_a_polygon_are_its_box(tmp_path: Path) -> None:
    labels = read_yolo(data(tmp_path, labels="0 0.1 0.2 0.5 0.3 0.3 0.9\n"))
    assert labels.pictures[0].labels[0].box == pytest.approx((20, 20, 100, 90))


def test_a_data_yaml_is_found_from_another_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for yaml in (YAML, "val: images/val\nnames: [person, cat]\n"):
        path = data(Path("below") / "it", yaml=yaml)
        for beside in (None, Path("below") / "it" / "images"):
            found = open_inputs(path) if beside is None else open_inputs(beside, labels=path)
            (file,) = found.files
            assert file.resolve() == tmp_path / "below" / "it" / "images" / "val" / "a.jpg"


def test_files_of_windows_and_macos_are_read(tmp_path: Path) -> None:
    path = data(tmp_path, yaml="\ufeff" + YAML, labels="\ufeff1 0.5 0.5 0.2 0.4\r\n")
    (tmp_path / "images" / "val" / "._a.jpg").write_bytes(b"of macOS")
    (one,) = read_yolo(path).pictures
    assert [label.name for label in one.labels] == ["cat"]


def test_a_picture_without_a_label_file_has_no_object(tmp_path: Path) -> None:
    assert read_yolo(data(tmp_path, labels=None)).pictures[0].labels == ()


def test_a_split_may_be_a_list_of_pictures(tmp_path: Path) -> None:
    path = data(tmp_path, yaml="val: val.txt\nnames: [person, cat]\n")
    (tmp_path / "val.txt").write_text("./images/val/a.jpg\n")
    assert len(read_yolo(path).pictures[0].labels) == 1
    (tmp_path / "val.txt").write_text("\n./images/val/b.jpg\n")
    with pytest.raises(LabelError, match=r"val\.txt, line 2: there is no picture"):
        read_yolo(path)


@pytest.mark.parametrize(
    ("yaml", "message"),
    [
        ("val: [\n", r"data\.yaml, line 2: it is no YAML"),
        ("- 1\n", "is no data.yaml"),
        ("val: images/val\n", "names is missing"),
        ("val: images/val\nnames: {0: a, 2: b}\n", "without a gap"),
        ("val: images/val\nnames: [a, a]\n", "holds 'a' twice"),
        ("names: [a, b]\n", "val names no folder"),
        ("val: images/gone\nnames: [a, b]\n", r"images/gone cannot be read"),
        ("val: [images/val, images/val]\nnames: [a, b]\n", "names a picture twice"),
        ("val: labels\nnames: [a, b]\n", "names no picture"),
    ],
)
def test_what_is_wrong_with_a_data_yaml_is_said(tmp_path: Path, yaml: str, message: str) -> None:
    with pytest.raises(LabelError, match=message):
        read_yolo(data(tmp_path, yaml=yaml))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (
            "1 0.5 0.5 0.2 0.4\n\n2 0.5 0.5 0.2 0.4\n",
            r"a\.txt, line 3: class 2 is not one of the 2",
        ),
        ("1 0.5 0.5 0.2\n", "line 1: 4 numbers"),
        ("1 0.5 0.5 0.2 0.4 0.9\n", "line 1: 6 numbers"),
        ("cat 0.5 0.5 0.2 0.4\n", "not all of it are numbers"),
        ("1 100 50 40 40\n", "are these pixels"),
        ("1 0.5 nan 0.2 0.4\n", "not between 0 and 1"),
        ("1 0.5 0.5 0 0.4\n", "has no area"),
        ("1 0.5 0.5 0.2 0.4\n1 0.5 0.5 0.2 0.4\n", "line 2: this object is there twice"),
    ],
)
def test_what_is_wrong_with_a_label_file_is_said(tmp_path: Path, labels: str, message: str) -> None:
    with pytest.raises(LabelError, match=message):
        read_yolo(data(tmp_path, labels=labels))


def test_a_picture_that_is_none_is_named(tmp_path: Path) -> None:
    path = data(tmp_path)
    (tmp_path / "images" / "val" / "a.jpg").write_text("no picture")
    with pytest.raises(LabelError, match=r"a\.jpg is no usable picture"):
        read_yolo(path)


def test_a_picture_is_as_large_as_it_is_after_exif_has_turned_it(tmp_path: Path) -> None:
    path = data(tmp_path)
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.new("RGB", (200, 100)).save(tmp_path / "images" / "val" / "a.jpg", exif=turned)
    (one,) = read_yolo(path).pictures
    assert one.size == (100, 200)
    assert one.labels[0].box == pytest.approx((40, 60, 60, 140))


def test_a_folder_is_a_class(tmp_path: Path) -> None:
    picture(tmp_path / "cat" / "a.jpg")
    picture(tmp_path / "dog" / "b.png")
    found = read_class_folders(tmp_path)
    assert found.classes == ("cat", "dog")
    assert [(one.path.name, one.name) for one in found.pictures] == [
        ("a.jpg", "cat"),
        ("b.png", "dog"),
    ]
    with pytest.raises(LabelError, match="no classes of the model: dog"):
        found.check_classes(["cat", "horse"])


def test_what_is_wrong_with_class_folders_is_said(tmp_path: Path) -> None:
    with pytest.raises(LabelError, match="is no folder"):
        read_class_folders(tmp_path / "gone")
    with pytest.raises(LabelError, match="holds no folders"):
        read_class_folders(tmp_path)
    (tmp_path / "cat").mkdir()
    with pytest.raises(LabelError, match="cat holds no pictures"):
        read_class_folders(tmp_path)
    (tmp_path / "cat" / "a.jpg").write_text("no picture")
    with pytest.raises(LabelError, match=r"a\.jpg is no usable picture"):
        read_class_folders(tmp_path)
