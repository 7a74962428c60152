"""Labels with the pictures or the clip that they belong to, however the user names the two."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from runtime.inference.errors import PictureError
from runtime.inference.pictures import Picture, Reduction, read_picture
from visionstack.accuracy.coco import read_coco
from visionstack.accuracy.errors import LabelError
from visionstack.accuracy.folders import ClassSet, read_class_folders
from visionstack.accuracy.labels import LabelSet
from visionstack.accuracy.motchallenge import read_mot
from visionstack.accuracy.pictures import SUFFIXES, picture_files
from visionstack.accuracy.yolo import read_yolo
from visionstack.errors import UsageError

Image = NDArray[np.uint8]
_CLIPS: Final = (".avi", ".mkv", ".mov", ".mp4", ".mpg", ".webm")
_LABELS: Final = (".json", ".txt", ".yaml", ".yml")


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """A video file: its frames, (width, height) in pixels, frames a second."""

    path: Path
    frames: int
    size: tuple[int, int]
    rate: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """What models are run over. `labels` for detectors, `classes` for classifiers, or neither."""

    name: str
    pictures: tuple[str, ...]
    """What each is called, in order."""
    files: tuple[Path, ...] = ()
    clip: Clip | None = None
    frames: tuple[int, ...] = ()
    """Of the clip, in rising order, those that are `pictures`."""
    labels: LabelSet | None = None
    classes: ClassSet | None = None

    @property
    def times(self) -> list[float | None]:
        """Seconds from the clip's beginning; None for pictures."""
        if self.clip is None:
            return [None] * len(self.pictures)
        return [frame / self.clip.rate for frame in self.frames]

    def read(self, reduction: Reduction | None = None) -> Iterator[Picture]:
        """The pictures, blue first, checked against the labels.

        `reduction` is the detector's: what a server would decode smaller is decoded so. Raises
        `LabelError` for a picture that cannot be read or has another size than its labels.
        """
        if self.clip is not None:
            pictures = self._of_clip()
        else:
            pictures = (_decoded(file, reduction) for file in self.files)
        for place, picture in enumerate(pictures):
            if self.labels is not None:
                size = (picture.width, picture.height)
                self.labels.check_size(self.labels.pictures[place], size)
            yield picture

    def _of_clip(self) -> Iterator[Picture]:
        assert self.clip is not None  # noqa: S101 - for the type checker
        wanted = set(self.frames)
        for number, image in enumerate(read_clip(self.clip.path)):
            if number in wanted:
                yield Picture.whole(image)


def open_inputs(
    source: Path, *, labels: Path | None = None, split: str = "val", cut: bool = False
) -> Inputs:
    """Labels that name their pictures, or pictures or a clip with `labels` or without.

    `split` is of a data.yaml; with `cut` a clip may be the beginning of what MOTChallenge labels.
    Raises `UsageError` for what cannot belong together, `LabelError` for what is wrong in them.
    """
    if not source.exists():
        raise UsageError(f"There is no {source}.")
    suffix = source.suffix.lower()
    if source.is_file() and suffix in _LABELS:
        if labels is not None:
            raise UsageError(
                f"{source} and --labels {labels} are both labels.",
                remedy="Name the pictures or the clip first.",
            )
        return _of_labels(source, beside=None, split=split)
    if suffix in _CLIPS:
        return _of_clip(source, labels, cut=cut)
    if labels is not None:
        return _of_labels(labels, beside=source, split=split)
    if source.is_dir() and not any(p.suffix.lower() in SUFFIXES for p in source.iterdir()):
        classes = read_class_folders(source)
        files = tuple(one.path for one in classes.pictures)
        names = tuple(str(file.relative_to(source)) for file in files)
        return Inputs(name=str(source), pictures=names, files=files, classes=classes)
    plain = picture_files(source) if source.is_dir() else [source]
    return Inputs(name=str(source), pictures=tuple(p.name for p in plain), files=tuple(plain))


def open_clip(path: Path) -> Clip:
    """Counts the frames by decoding, since files' own counts are often wrong."""
    import cv2

    size, frames = (0, 0), 0
    for frames, image in enumerate(read_clip(path), start=1):  # noqa: B007
        size = (image.shape[1], image.shape[0])
    if not frames:
        raise LabelError(f"{path} holds no frame that can be decoded.")
    film = cv2.VideoCapture(str(path))
    rate = float(film.get(cv2.CAP_PROP_FPS))
    film.release()
    return Clip(path=path, frames=frames, size=size, rate=rate if 0 < rate < 1000 else 25.0)


def read_clip(path: Path) -> Iterator[Image]:
    """Every frame, uint8 (height, width, 3) with blue first."""
    import cv2

    film = cv2.VideoCapture(str(path))
    try:
        while True:
            good, image = film.read()
            if not good:
                return
            yield np.asarray(image, np.uint8)
    finally:
        film.release()


def _of_labels(path: Path, *, beside: Path | None, split: str) -> Inputs:
    if path.suffix.lower() == ".txt":
        raise UsageError(
            f"{path} does not say which clip it labels.",
            remedy=f"Name it first: visionstack accuracy CLIP --labels {path}",
        )
    if path.suffix.lower() in {".yaml", ".yml"}:
        labels = read_yolo(path, split=split)
        if beside is None or beside.is_dir():
            # It has looked through the folders that the file names; its names lead from here.
            paths = tuple(Path(picture.name) for picture in labels.pictures)
            names = tuple(picture.name for picture in labels.pictures)
            return Inputs(name=str(path), pictures=names, files=paths, labels=labels)
    else:
        labels = read_coco(path)
    clips = {picture.name for picture in labels.pictures if picture.frame is not None}
    if clips:
        if len(clips) > 1 or any(picture.frame is None for picture in labels.pictures):
            raise LabelError(f"{path} labels frames of several clips, or pictures besides.")
        return _with_clip(labels, _found(path, clips.pop(), beside))
    files = tuple(_found(path, picture.name, beside) for picture in labels.pictures)
    return Inputs(
        name=str(path),
        pictures=tuple(picture.name for picture in labels.pictures),
        files=files,
        labels=labels,
    )


def _found(labels: Path, name: str, beside: Path | None) -> Path:
    if beside is not None and beside.is_file():
        if beside.name != Path(name).name:
            raise LabelError(f"{labels} labels {name}, and the picture given is {beside.name}.")
        return beside
    file = (beside or labels.parent) / name
    if not file.is_file():
        raise LabelError(
            f"{labels} labels {name}, and there is no {file}.",
            remedy="Name the folder of the pictures: visionstack accuracy FOLDER --labels …",
        )
    return file


def _of_clip(source: Path, path: Path | None, *, cut: bool) -> Inputs:
    clip = open_clip(source)
    if path is None:
        frames = tuple(range(clip.frames))
        return Inputs(
            name=str(source), pictures=_frame_names(source, frames), clip=clip, frames=frames
        )
    if path.suffix.lower() == ".txt":
        labels = read_mot(path, clip=source.name, frames=clip.frames, size=clip.size, cut=cut)
    elif path.suffix.lower() == ".json":
        labels = read_coco(path)
    else:
        raise UsageError(f"{path}: a clip is labelled by MOTChallenge's gt.txt or a COCO JSON.")
    return _with_clip(labels, source, clip=clip)


def _with_clip(labels: LabelSet, path: Path, *, clip: Clip | None = None) -> Inputs:
    clip = clip or open_clip(path)
    ordered = replace(labels, pictures=labels.frames(clip.frames))
    names = {picture.name for picture in ordered.pictures}
    if names != {path.name}:
        raise LabelError(
            f"{labels.source} labels {', '.join(sorted(names))}, and the clip is {path.name}."
        )
    frames = tuple(picture.frame or 0 for picture in ordered.pictures)
    if len(set(frames)) < len(frames):
        twice = next(frame for frame in frames if frames.count(frame) > 1)
        raise LabelError(f"{labels.source} labels frame {twice} twice.")
    return Inputs(
        name=str(labels.source),
        pictures=_frame_names(path, frames),
        clip=clip,
        frames=frames,
        labels=ordered,
    )


def _frame_names(path: Path, frames: Sequence[int]) -> tuple[str, ...]:
    return tuple(f"{path.name}, frame {frame}" for frame in frames)


def _decoded(path: Path, reduction: Reduction | None) -> Picture:
    try:
        return read_picture(path.read_bytes(), reduction=reduction)
    except OSError as error:
        raise LabelError(f"{path} cannot be read: {error.strerror}.") from error
    except PictureError as error:
        raise LabelError(f"{path} is no usable picture: {error}") from error
