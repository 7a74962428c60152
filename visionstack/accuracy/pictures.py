"""Picture files that labels belong to."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from runtime.inference.errors import PictureError
from runtime.inference.pictures import open_checked
from visionstack.accuracy.errors import LabelError
from visionstack.picture_files import pictures_in

SUFFIXES: Final = (".bmp", ".jpeg", ".jpg", ".png", ".webp")
_ORIENTATION: Final = 0x0112
_TURNED: Final = (5, 6, 7, 8)
"""EXIF's orientations in which width and height are exchanged."""


def picture_files(folder: Path) -> list[Path]:
    """The pictures of a folder and of those in it, by name."""
    return list(pictures_in(folder, SUFFIXES, below=True).pictures)


def picture_size(path: Path) -> tuple[int, int]:
    """(width, height) in pixels as models see it, turned as EXIF says. Raises `LabelError`."""
    try:
        image = open_checked(path.read_bytes())
        turned = image.getexif().get(_ORIENTATION) in _TURNED  # decodes a whole PNG
    except OSError as error:
        raise LabelError(f"{path} cannot be read: {error.strerror or error}.") from error
    except PictureError as error:
        raise LabelError(f"{path} is no usable picture: {error}") from error
    width, height = image.size
    return (height, width) if turned else (width, height)
