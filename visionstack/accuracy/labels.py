"""Labels of pictures and of clips, whatever file they came from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from visionstack.accuracy.errors import LabelError
from visionstack.accuracy.names import unknown_names

Box = tuple[float, float, float, float]
"""x1, y1, x2, y2 in pixels of the picture, from its left upper corner."""

_OUTSIDE: Final = 0.5
"""A box of which less than this share lies in the picture is taken for one of another picture."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """One object. `ignore`: it counts neither as found nor as missed (COCO's `iscrowd`)."""

    name: str
    box: Box
    ignore: bool = False
    track: int | None = None
    """The same number for the same object in every frame of a clip."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledPicture:
    """A picture, or with `frame` (from 0) a frame of a clip, with all its objects.

    `size` is (width, height) in pixels, None where the file does not say it.
    """

    name: str
    frame: int | None
    size: tuple[int, int] | None
    labels: tuple[Label, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelSet:
    """Labels of one file. Every object of `classes` is labelled; other objects are not."""

    source: Path
    classes: tuple[str, ...]
    pictures: tuple[LabelledPicture, ...]

    @property
    def objects(self) -> int:
        """Those that count."""
        return sum(not label.ignore for picture in self.pictures for label in picture.labels)

    def frames(self, number: int) -> tuple[LabelledPicture, ...]:
        """The pictures as those of a clip of `number` frames, in order of the frames.

        Raises `LabelError` where one is not a frame of such a clip.
        """
        for picture in self.pictures:
            if picture.frame is None or picture.frame >= number:
                raise LabelError(
                    f"{self.source} labels {_called(picture)}, and the clip has {number} frames.",
                    remedy="Give the labels that belong to it.",
                )
        return tuple(sorted(self.pictures, key=lambda picture: picture.frame or 0))

    def check_size(self, picture: LabelledPicture, size: tuple[int, int]) -> None:
        """Raises `LabelError` unless `size` (width, height) is what the labels were made for."""
        if picture.size is not None and picture.size != size:
            raise LabelError(
                f"{self.source} labels {_called(picture)} at {picture.size[0]}x{picture.size[1]} "
                f"pixels, and the picture has {size[0]}x{size[1]}.",
                remedy="Give the picture that was labelled, or its labels at this size.",
            )
        for label in picture.labels:
            check_box(label.box, size, place=f"{self.source}, {_called(picture)}")

    def check_classes(self, model: Iterable[str]) -> None:
        """Raises `LabelError` where a labelled class is not one of the model's."""
        if unknown := unknown_names(self.classes, model):
            raise LabelError(
                f"{self.source} labels {', '.join(unknown)}, which the model does not know.",
                remedy="Name the classes as the model does, or leave them out of the labels.",
            )


def read_text(path: Path) -> str:
    """A file of labels. Raises `LabelError`, which names it."""
    try:
        return path.read_text("utf-8-sig")  # Windows' editors begin a file with a mark
    except OSError as error:
        raise LabelError(f"{path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise LabelError(f"{path} is no UTF-8 text.") from error


def check_box(box: Box, size: tuple[int, int] | None, *, place: str) -> None:
    """Raises `LabelError` for a box without area, or one that lies outside of the picture."""
    x1, y1, x2, y2 = box
    area = (x2 - x1) * (y2 - y1)
    if not (x1 < x2 and y1 < y2):
        raise LabelError(f"{place}: a box of {x2 - x1:g}x{y2 - y1:g} pixels has no area.")
    if size is None:
        return
    width, height = min(x2, size[0]) - max(x1, 0), min(y2, size[1]) - max(y1, 0)
    if max(width, 0) * max(height, 0) < _OUTSIDE * area:
        raise LabelError(
            f"{place}: the box from ({x1:g}, {y1:g}) to ({x2:g}, {y2:g}) lies outside of a picture "
            f"of {size[0]}x{size[1]} pixels."
        )


def _called(picture: LabelledPicture) -> str:
    return picture.name if picture.frame is None else f"frame {picture.frame} of {picture.name}"
