"""COCO's JSON: `categories`, `images`, `annotations` with `bbox` = x, y, width, height.

An image with `frame_index` (from 0) is a frame of the clip that `file_name` names, as in COCO-style
files of video data sets.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from visionstack.accuracy.errors import LabelError
from visionstack.accuracy.labels import Label, LabelledPicture, LabelSet, check_box, read_text

_PARTS = ("categories", "images", "annotations")


def read_coco(path: Path) -> LabelSet:
    """The labels of a file. Raises `LabelError`, which names the file and the entry."""
    document = _document(path)
    names: dict[int, str] = {}
    for place, entry in _entries(path, document, "categories"):
        number = _new_id(place, entry, names)
        names[number] = _text(place, entry, "name")
        if list(names.values()).count(names[number]) > 1:
            raise LabelError(f"{place}: there are two categories {names[number]!r}.")
    pictures: dict[int, tuple[str, int | None, tuple[int, int]]] = {}
    for place, entry in _entries(path, document, "images"):
        number = _new_id(place, entry, pictures)
        size = (_whole(place, entry, "width"), _whole(place, entry, "height"))
        frame = _whole(place, entry, "frame_index") if "frame_index" in entry else None
        pictures[number] = (_file_name(place, entry), frame, size)
    labels: dict[int, list[Label]] = {number: [] for number in pictures}
    seen: dict[int, str] = {}
    for place, entry in _entries(path, document, "annotations"):
        seen[_new_id(place, entry, seen)] = place
        picture, category = (_whole(place, entry, key) for key in ("image_id", "category_id"))
        if picture not in pictures:
            raise LabelError(f"{place}: there is no image with the id {picture}.")
        if category not in names:
            raise LabelError(f"{place}: there is no category with the id {category}.")
        labels[picture].append(_label(place, entry, names[category], pictures[picture][2]))
    return LabelSet(
        source=path,
        classes=tuple(names.values()),
        pictures=tuple(
            LabelledPicture(name=name, frame=frame, size=size, labels=tuple(labels[number]))
            for number, (name, frame, size) in pictures.items()
        ),
    )


def _document(path: Path) -> Mapping[str, Any]:
    try:
        document = json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise LabelError(f"{path}, line {error.lineno}: it is no JSON: {error.msg}.") from error
    if not isinstance(document, dict) or any(part not in document for part in _PARTS):
        raise LabelError(f"{path} is no COCO file: it lacks one of {', '.join(_PARTS)}.")
    return document


def _entries(
    path: Path, document: Mapping[str, Any], part: str
) -> list[tuple[str, Mapping[str, Any]]]:
    entries = document[part]
    if not isinstance(entries, list) or (not entries and part != "annotations"):
        raise LabelError(f"{path}: {part} is not a list, or is empty.")
    found: list[tuple[str, Mapping[str, Any]]] = []
    for index, entry in enumerate(entries):
        if not isinstance(entry, dict):
            raise LabelError(f"{path}, {part}[{index}] is not an object.")
        found.append((f"{path}, {part}[{index}] (id {entry.get('id')})", entry))
    return found


def _label(place: str, entry: Mapping[str, Any], name: str, size: tuple[int, int]) -> Label:
    numbers = entry.get("bbox")
    if (
        not isinstance(numbers, list)
        or len(numbers) != 4
        or not all(isinstance(n, int | float) and not isinstance(n, bool) for n in numbers)
    ):
        raise LabelError(f"{place}: bbox is not x, y, width, height: {numbers!r}.")
    x, y, width, height = map(float, numbers)
    box = (x, y, x + width, y + height)
    check_box(box, size, place=place)
    track = entry.get("track_id")
    return Label(name=name, box=box, ignore=bool(entry.get("iscrowd", 0)), track=track)


def _new_id(place: str, entry: Mapping[str, Any], taken: Mapping[int, object]) -> int:
    number = _whole(place, entry, "id")
    if number in taken:
        raise LabelError(f"{place}: the id {number} is there twice.")
    return number


def _whole(place: str, entry: Mapping[str, Any], key: str) -> int:
    value = entry.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise LabelError(f"{place}: {key} is not a whole number: {value!r}.")
    return value


def _file_name(place: str, entry: Mapping[str, Any]) -> str:
    name = _text(place, entry, "file_name")
    if Path(name).anchor or ".." in Path(name).parts:
        raise LabelError(
            f"{place}: the file_name {name!r} leads out of the folder of the pictures.",
            remedy="Write it as a path from that folder on, without `..`.",
        )
    return name


def _text(place: str, entry: Mapping[str, Any], key: str) -> str:
    value = entry.get(key)
    if not isinstance(value, str) or not value:
        raise LabelError(f"{place}: {key} is missing.")
    return value
