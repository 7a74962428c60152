"""Which files of a folder are pictures, and a sentence about those that are left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Final

_CLUTTER: Final = frozenset(("thumbs.db", "desktop.ini", "__macosx"))
_HEIF: Final = (".heic", ".heif", ".hif")
UNREAD_SUFFIXES: Final = (*_HEIF, ".avif", ".jxl", ".jp2", ".dng", ".cr2", ".cr3", ".nef", ".arw")
"""Of pictures that no part of visionstack takes in folders."""
_MOST_ENDINGS: Final = 5


@dataclass(frozen=True, slots=True)
class FolderPictures:
    """What a folder holds, by name. Hidden files and the systems' own are in neither part."""

    pictures: tuple[Path, ...]
    others: tuple[Path, ...]
    """Files with other endings; folders too, where only the folder itself was looked through."""


def is_clutter(path: PurePath) -> bool:
    """Whether a system or a program put it there: macOS's `._photo.jpg` is no picture."""
    return any(
        (part.startswith(".") and part not in (".", "..")) or part.lower() in _CLUTTER
        for part in path.parts
    )


def pictures_in(folder: Path, suffixes: Collection[str], *, below: bool) -> FolderPictures:
    """Files with one of the `suffixes`, and the rest; `below`: also those of folders in it."""
    pictures, others = [], []
    for path in sorted(folder.rglob("*") if below else folder.iterdir()):
        if is_clutter(path.relative_to(folder)):
            continue
        if path.is_dir():
            if not below:
                others.append(path)
        elif path.suffix.lower() in suffixes:
            pictures.append(path)
        else:
            others.append(path)
    return FolderPictures(tuple(pictures), tuple(others))


def left_out(others: Iterable[PurePath], suffixes: Collection[str]) -> str | None:
    """What to say of files that were not taken, and what to do; None when there are none."""
    endings = Counter(_ending(path) for path in others)
    if not endings:
        return None
    shown = endings.most_common(_MOST_ENDINGS)
    told = [f"{count} {ending}" for ending, count in shown]
    if rest := endings.total() - sum(count for _, count in shown):
        told.append(f"{rest} more")
    sentence = f"Left out: {', '.join(told)}. Taken are {', '.join(suffixes)}."
    if not endings.keys().isdisjoint(_HEIF):
        sentence += (
            " Save HEIC pictures as JPEG first: `magick mogrify -format jpg *.heic`, on a Mac "
            "`sips -s format jpeg *.heic --out DIR`; an iPhone takes JPEG by Settings, Camera, "
            "Formats, Most Compatible."
        )
    return sentence


def _ending(path: PurePath) -> str:
    if isinstance(path, Path) and path.is_dir():
        return "of its folders (give each by itself)"
    return path.suffix.lower() or "without an ending"
