"""Picture files that labels belong to."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from visionstack.accuracy.errors import LabelError

SUFFIXES: Final = (".bmp", ".jpeg", ".jpg", ".png", ".webp")


def picture_files(folder: Path) -> list[Path]:
    """The pictures of a folder and of those in it, by name."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)


def picture_size(path: Path) -> tuple[int, int]:
    """(width, height) in pixels as its file stores it. Raises `LabelError` if it is no picture."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            return image.size
    except UnidentifiedImageError as error:
        raise LabelError(f"{path} is no picture.") from error
    except OSError as error:
        raise LabelError(f"{path} cannot be read: {error.strerror or error}.") from error
