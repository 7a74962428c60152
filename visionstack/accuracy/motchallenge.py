"""MOTChallenge's ground truth of a clip: a line an object, `frame,id,left,top,width,height,…`.

Frames count from 1. A seventh number of 0 says that the object does not count; in the files of 2016
and later the eighth is the class, of which 1 is a pedestrian and the others do not count (Milan,
Leal-Taixe, Reid, Roth, Schindler 2016, arXiv:1603.00831, tables 5 and 6).
"""

from __future__ import annotations

import csv
from pathlib import Path

from visionstack.accuracy.errors import LabelError
from visionstack.accuracy.labels import Label, LabelledPicture, LabelSet, check_box

_PEDESTRIAN = 1
_COLUMNS_WITH_CLASS = 9


def read_mot(
    path: Path, *, clip: str, frames: int, size: tuple[int, int], cut: bool = False
) -> LabelSet:
    """The people in a clip of that many frames and that (width, height); a frame may have none.

    Lines of later frames are refused, or with `cut` left out: the clip is the beginning of what was
    labelled. Raises `LabelError`, which names the file and the line.
    """
    labels: dict[int, list[Label]] = {}
    seen: set[tuple[int, int]] = set()
    for place, numbers in _lines(path):
        frame, track = (_whole(place, number) for number in numbers[:2])
        if cut and frame > frames:
            continue
        if not 1 <= frame <= frames:
            raise LabelError(
                f"{place}: frame {frame} is not one of the clip's {frames}.",
                remedy="Give the ground truth of this clip.",
            )
        if (frame, track) in seen:
            raise LabelError(f"{place}: object {track} is in frame {frame} twice.")
        seen.add((frame, track))
        x, y, width, height = numbers[2:6]
        box = (x, y, x + width, y + height)
        check_box(box, size, place=place)
        counts = len(numbers) < 7 or numbers[6] != 0
        if len(numbers) == _COLUMNS_WITH_CLASS:
            counts = counts and numbers[7] == _PEDESTRIAN
        label = Label(name="person", box=box, ignore=not counts, track=track)
        labels.setdefault(frame - 1, []).append(label)
    if not labels:
        raise LabelError(f"{path} holds no labels.")
    return LabelSet(
        source=path,
        classes=("person",),
        pictures=tuple(
            LabelledPicture(
                name=clip, frame=number, size=size, labels=tuple(labels.get(number, ()))
            )
            for number in range(frames)
        ),
    )


def _lines(path: Path) -> list[tuple[str, list[float]]]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = [(number, row) for number, row in enumerate(csv.reader(file), start=1) if row]
    except OSError as error:
        raise LabelError(f"{path} cannot be read: {error.strerror}.") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise LabelError(f"{path} is no text of comma-separated lines.") from error
    found = []
    for number, row in rows:
        place = f"{path}, line {number}"
        if len(row) < 6:
            raise LabelError(f"{place}: {len(row)} numbers, not frame,id,left,top,width,height.")
        try:
            found.append((place, [float(text) for text in row]))
        except ValueError as error:
            raise LabelError(f"{place}: not all of it are numbers: {','.join(row)}.") from error
    return found


def _whole(place: str, number: float) -> int:
    if number != int(number):
        raise LabelError(f"{place}: frame and id are whole numbers, not {number:g}.")
    return int(number)
