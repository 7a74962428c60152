"""Ultralytics' data.yaml and its label files: a line an object, `class x y width height`.

Centre and extent are shares of the picture. A line of more numbers is a polygon, `class x y x y …`,
of which the bounds are taken. The labels of `…/images/a.jpg` are `…/labels/a.txt`; a picture
without such a file has no object (docs.ultralytics.com, "Object Detection Datasets Overview").
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import yaml

from visionstack.accuracy.errors import LabelError
from visionstack.accuracy.labels import Label, LabelledPicture, LabelSet, check_box, read_text
from visionstack.accuracy.pictures import picture_files, picture_size

_ROUNDING = 1e-3
"""Label tools round; a share may leave the picture by this much."""


def read_yolo(path: Path, *, split: str = "val") -> LabelSet:
    """The pictures of a split and their labels. Raises `LabelError`, which names file and line."""
    document = _document(path)
    classes = _classes(path, document.get("names"))
    root = path.parent / str(document.get("path") or "")
    wanted = document.get(split)
    entries = wanted if isinstance(wanted, list) else [wanted]
    if not all(isinstance(entry, str) and entry for entry in entries):
        raise LabelError(
            f"{path}: {split} names no folder or list of pictures.",
            remedy="Write it, or name another split (train, val, test).",
        )
    files = [file for entry in entries for file in _files(path, root / str(entry))]
    if not files:
        raise LabelError(f"{path}: {split} names no picture.")
    if len(set(files)) < len(files):
        raise LabelError(f"{path}: {split} names a picture twice.")
    return LabelSet(
        source=path,
        classes=classes,
        pictures=tuple(_picture(file, classes) for file in files),
    )


def _document(path: Path) -> dict[str, Any]:
    try:
        document = yaml.safe_load(read_text(path))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = "" if mark is None else f", line {mark.line + 1}"
        raise LabelError(f"{path}{line}: it is no YAML.") from error
    if not isinstance(document, dict):
        raise LabelError(f"{path} is no data.yaml: it holds no names and values.")
    return document


def _classes(path: Path, names: object) -> tuple[str, ...]:
    if isinstance(names, dict):
        if sorted(map(str, names)) != sorted(map(str, range(len(names)))):
            raise LabelError(f"{path}: names are not numbered from 0 on without a gap.")
        names = [names[number] for number in sorted(names, key=int)]
    if not isinstance(names, list) or not names:
        raise LabelError(f"{path}: names is missing, or is no list.")
    classes = tuple(str(name) for name in names)
    for name in classes:
        if classes.count(name) > 1:
            raise LabelError(f"{path}: names holds {name!r} twice.")
    return classes


def _files(path: Path, place: Path) -> list[Path]:
    """Pictures of a folder, or those that a text file lists."""
    if place.is_dir():
        return picture_files(place)
    try:
        lines = place.read_text("utf-8-sig").splitlines()
    except OSError as error:
        raise LabelError(f"{path}: {place} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise LabelError(f"{path}: {place} is neither a folder nor a list.") from error
    files = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        file = place.parent / line.strip()
        if not file.is_file():
            raise LabelError(f"{place}, line {number}: there is no picture {file}.")
        files.append(file)
    return files


def _picture(file: Path, classes: tuple[str, ...]) -> LabelledPicture:
    size = picture_size(file)
    parts = list(file.parts)
    if "images" in parts:
        last = len(parts) - 1 - parts[::-1].index("images")
        parts[last] = "labels"
    text = Path(*parts).with_suffix(".txt")
    labels: list[Label] = []
    if text.is_file():
        for number, line in enumerate(read_text(text).splitlines(), start=1):
            if line.strip():
                label = _label(f"{text}, line {number}", line.split(), classes, size)
                if label in labels:
                    raise LabelError(f"{text}, line {number}: this object is there twice.")
                labels.append(label)
    return LabelledPicture(name=str(file), frame=None, size=size, labels=tuple(labels))


def _label(place: str, words: list[str], classes: tuple[str, ...], size: tuple[int, int]) -> Label:
    try:
        number, *shares = map(float, words)
    except ValueError as error:
        raise LabelError(f"{place}: not all of it are numbers: {' '.join(words)}.") from error
    if len(shares) < 4 or len(shares) % 2 or len(shares) == 5:
        raise LabelError(f"{place}: {len(words)} numbers, not class, x, y, width, height.")
    if number != int(number) or not 0 <= number < len(classes):
        raise LabelError(f"{place}: class {words[0]} is not one of the {len(classes)} named.")
    if not all(math.isfinite(s) and -_ROUNDING <= s <= 1 + _ROUNDING for s in shares):
        raise LabelError(f"{place}: a share is not between 0 and 1 (are these pixels?).")
    if len(shares) == 4:
        x, y, width, height = shares
        left, top, right, bottom = x - width / 2, y - height / 2, x + width / 2, y + height / 2
    else:
        left, right = min(shares[::2]), max(shares[::2])
        top, bottom = min(shares[1::2]), max(shares[1::2])
    box = (left * size[0], top * size[1], right * size[0], bottom * size[1])
    check_box(box, size, place=place)
    return Label(name=classes[int(number)], box=box)
