"""Pictures for a classifier, sorted into a folder a class: the folder's name is the class."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from visionstack.accuracy.errors import LabelError
from visionstack.accuracy.names import unknown_names
from visionstack.accuracy.pictures import picture_files, picture_size


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassifiedPicture:
    """A picture file and its class."""

    path: Path
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassSet:
    """Pictures of one folder."""

    source: Path
    classes: tuple[str, ...]
    pictures: tuple[ClassifiedPicture, ...]

    def check_classes(self, model: Iterable[str]) -> None:
        """Raises `LabelError` where a folder is not called as one of the model's classes."""
        if unknown := unknown_names(self.classes, model):
            raise LabelError(
                f"{self.source} has folders that are no classes of the model: "
                f"{', '.join(unknown)}.",
                remedy="Call each folder as the model calls the class.",
            )


def read_class_folders(path: Path) -> ClassSet:
    """The pictures by class. Raises `LabelError`, which names the file or folder."""
    if not path.is_dir():
        raise LabelError(f"{path} is no folder.")
    folders = sorted(p for p in path.iterdir() if p.is_dir() and not p.name.startswith("."))
    if not folders:
        raise LabelError(f"{path} holds no folders.", remedy="Put each class's pictures in one.")
    pictures: list[ClassifiedPicture] = []
    for folder in folders:
        files = picture_files(folder)
        if not files:
            raise LabelError(f"{folder} holds no pictures.")
        for file in files:
            picture_size(file)
            pictures.append(ClassifiedPicture(path=file, name=folder.name))
    return ClassSet(
        source=path, classes=tuple(folder.name for folder in folders), pictures=tuple(pictures)
    )
