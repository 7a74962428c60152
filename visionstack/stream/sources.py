"""Where the frames of `visionstack stream` come from: pictures, folders, videos, cameras, RTSP."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, TypeVar

from runtime.redaction import redacted
from visionstack.errors import UsageError, VisionstackError
from visionstack.picture_files import left_out, pictures_in
from visionstack.stream.pictures import Picture

T = TypeVar("T")
PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
_WHAT_IT_CAN_BE: Final = (
    "A source is a picture, a folder of pictures, a video file, a camera's number or an rtsp:// "
    "address."
)


@dataclass(frozen=True, slots=True)
class SourceFrame:
    """A picture and what it is called."""

    name: str
    picture: Picture = field(repr=False)


@dataclass(frozen=True, slots=True)
class Source:
    """An opened source. `total` and `rate` (frames/s) are None where nobody knows."""

    name: str
    """Its file or address, without a password."""
    frames: Iterator[SourceFrame] = field(repr=False)
    total: int | None
    rate: float | None
    realtime: bool
    """Frames come when they come: a camera or a network stream."""
    files: tuple[Path, ...] = ()
    """What is read: nothing may be saved over it."""
    left_out: str | None = None
    """A sentence about a folder's files that are not taken."""


def open_source(source: str) -> Source:
    """Raises UsageError for what does not exist, VisionstackError for what can't be opened."""
    if not source:
        # As a path it would be the folder that the command runs in.
        raise UsageError("The source is empty.", remedy=_WHAT_IT_CAN_BE)
    if source.isdecimal():
        return _captured(int(source), name=f"camera {source}", realtime=True)
    if "://" in source:
        return _captured(source, name=redacted(source), realtime=True)
    path = Path(source)
    if path.is_dir():
        return _folder(path)
    if not path.exists():
        raise UsageError(
            f"There is no {source}.",
            remedy=_WHAT_IT_CAN_BE,
        )
    if path.suffix.lower() in PICTURE_SUFFIXES:
        frames = iter([SourceFrame(path.name, path)])
        return Source(path.name, frames, 1, None, realtime=False, files=(path,))
    return replace(_captured(str(path), name=path.name, realtime=False), files=(path,))


def paced(frames: Iterable[T], rate: float) -> Iterator[T]:
    """The frames no faster than `rate` a second, on a fixed beat: one that is late does not delay
    the next."""
    began = time.monotonic()
    for number, frame in enumerate(frames):
        wait = began + number / rate - time.monotonic()
        if wait > 0:
            time.sleep(wait)
        yield frame


def _folder(path: Path) -> Source:
    found = pictures_in(path, PICTURE_SUFFIXES, below=False)
    others = left_out(found.others, PICTURE_SUFFIXES)
    if not found.pictures:
        raise UsageError(
            f"The folder {path} holds no picture.",
            remedy=others or f"Looked for {', '.join(PICTURE_SUFFIXES)}.",
        )
    return Source(
        path.name,
        (SourceFrame(picture.name, picture) for picture in found.pictures),
        len(found.pictures),
        None,
        realtime=False,
        files=found.pictures,
        left_out=others,
    )


def _captured(where: str | int, *, name: str, realtime: bool) -> Source:
    import cv2

    # What cannot be opened is told below, in words.
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)
    capture = _open(where)
    if not capture.isOpened():
        raise VisionstackError(
            f"{name} cannot be opened as a video.",
            remedy="Is the camera connected, the address right, the file a video?"
            if realtime
            else f"Pictures end in {', '.join(PICTURE_SUFFIXES)}; videos in .mp4, .avi, .mkv, …",
        )
    total = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    rate = float(capture.get(cv2.CAP_PROP_FPS))
    return Source(
        name,
        _read(capture, name),
        total if total > 0 and not realtime else None,
        rate if 0 < rate < 1000 else None,
        realtime=realtime,
    )


def _open(where: str | int) -> Any:
    """In a thread: a camera or a named pipe that says nothing keeps OpenCV waiting for half a
    minute or for ever, and Ctrl-C with it."""
    import cv2

    opened: list[Any] = []
    thread = threading.Thread(target=lambda: opened.append(cv2.VideoCapture(where)), daemon=True)
    thread.start()
    thread.join()
    return opened[0]


def _read(capture: Any, name: str) -> Iterator[SourceFrame]:
    try:
        number = 0
        while True:
            good, picture = capture.read()
            if not good:
                return
            yield SourceFrame(f"{name}#{number}", picture)
            number += 1
    finally:
        capture.release()
