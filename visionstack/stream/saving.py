"""Pictures with boxes drawn, saved as a video, one picture, or a folder of pictures."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from visionstack.errors import UsageError, VisionstackError
from visionstack.placing import place_labels
from visionstack.stream.pictures import Picture
from visionstack.stream.types import StreamDetection, StreamResult

_VIDEO_SUFFIXES = (".mp4", ".mkv", ".mov")
_PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png")


class Saver(Protocol):
    """Takes frames in order. `close` finishes the file."""

    def add(self, name: str, picture: Picture, result: StreamResult) -> None: ...
    def close(self) -> None: ...


def keeps_one_picture(path: Path) -> bool:
    """Whether what is saved there is a single picture."""
    return path.suffix.lower() in _PICTURE_SUFFIXES


def open_saver(path: Path, *, rate: float, sources: Sequence[Path] = ()) -> Saver:
    """By suffix: a video at `rate` frames/s, one picture, or a folder.

    Raises UsageError for another suffix and for what would replace one of the `sources`,
    VisionstackError where nothing can be written.
    """
    suffix = path.suffix.lower()
    known = (*_VIDEO_SUFFIXES, *_PICTURE_SUFFIXES)
    if suffix and suffix not in known:
        raise UsageError(
            f"--save {path}: nothing is known of {suffix}.",
            remedy=f"Give {', '.join(known)}, or a folder.",
        )
    _refuse_replacing(path, sources)
    try:
        (path.parent if suffix else path).mkdir(parents=True, exist_ok=True)
        return _Video(path, rate=rate) if suffix in _VIDEO_SUFFIXES else _Pictures(path)
    except OSError as error:
        raise _unwritable(path, error) from error


def _refuse_replacing(path: Path, sources: Sequence[Path]) -> None:
    """A folder is refused as a whole: a.png of it would be saved over its a.jpg."""
    if not path.exists():
        return
    wanted = path.stat()
    for source in sources:
        for one in (source, source.resolve()):
            place = one.parent if path.is_dir() else one
            if not place.exists() or not os.path.samestat(wanted, place.stat()):
                continue
            if path.is_dir():
                raise UsageError(
                    f"--save {path} is where {one.name} comes from, and would replace pictures.",
                    remedy="Name another folder: it is made.",
                )
            raise UsageError(
                f"--save {path} would replace the source.", remedy="Name another file."
            )


def draw(picture: NDArray[np.uint8], detections: tuple[StreamDetection, ...]) -> NDArray[np.uint8]:
    """A copy of the picture (height, width, 3; blue first) with boxes and labels."""
    drawn = picture.copy()
    height, width = drawn.shape[:2]
    thickness = max(1, round(max(width, height) / 500))
    scale = max(0.4, max(width, height) / 1800)
    stroke = max(1, round(scale * 1.6))
    pad = max(2, round(scale * 6))
    texts = [_text(one) for one in detections]
    sizes = [
        (found[0] + 2 * pad, found[1] + 2 * pad)
        for found, _ in (
            cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, stroke) for text in texts
        )
    ]
    colours = [_colour(one.class_id if one.track is None else one.track) for one in detections]
    for one, colour in zip(detections, colours, strict=True):
        # OpenCV takes no number above its integers'.
        x1, x2 = (round(min(max(x, -width), 2 * width)) for x in one.box[::2])
        y1, y2 = (round(min(max(y, -height), 2 * height)) for y in one.box[1::2])
        cv2.rectangle(drawn, (x1, y1), (x2, y2), colour, thickness)
    places = place_labels([one.box for one in detections], sizes, (width, height))
    for text, place, size, colour in zip(texts, places, sizes, colours, strict=True):
        if place is None:
            continue
        left, top = round(place[0]), round(place[1])
        corner = (left + size[0] - 1, top + size[1] - 1)
        cv2.rectangle(drawn, (left, top), corner, colour, cv2.FILLED)
        origin = (left + pad, top + size[1] - pad)
        ink = (255, 255, 255)
        cv2.putText(drawn, text, origin, cv2.FONT_HERSHEY_SIMPLEX, scale, ink, stroke, cv2.LINE_AA)
    return drawn


def _text(one: StreamDetection) -> str:
    identity = f" #{one.track}" if one.track is not None else ""
    return f"{one.label}{identity} {one.confidence:.0%}"


def pixels(picture: Picture) -> NDArray[np.uint8]:
    """The picture as an array (height, width, 3), blue first."""
    if isinstance(picture, np.ndarray):
        return picture
    data = picture.read_bytes() if isinstance(picture, Path) else picture
    if not isinstance(data, bytes):
        raise VisionstackError("A frame that is part of a video cannot be drawn by itself.")
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    return np.asarray(decoded, np.uint8)


def _colour(number: int) -> tuple[int, int, int]:
    """The same bright colour for the same number; neighbours differ by the golden angle."""
    hue = np.array([[[int(number * 111.246 / 2) % 180, 200, 200]]], np.uint8)
    blue, green, red = cv2.cvtColor(hue, cv2.COLOR_HSV2BGR)[0, 0].tolist()
    return int(blue), int(green), int(red)


def _unwritable(path: Path, error: OSError) -> VisionstackError:
    return VisionstackError(
        f"{path} cannot be written: {error.strerror}.",
        remedy="Save to another place, or make room there.",
    )


class _Pictures:
    """A folder of pictures; with a suffix, one picture."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._taken: set[str] = set()

    def add(self, name: str, picture: Picture, result: StreamResult) -> None:
        path = self._path
        if not path.suffix:
            stem = Path(name).stem if isinstance(picture, Path) else f"{result.sequence:06d}"
            if stem.casefold() in self._taken:
                stem = name  # a.jpg and a.png: the second is saved as a.png.jpg
            self._taken.add(stem.casefold())
            path = path / f"{stem}.jpg"
        # Not imwrite: it crashes at a name that is no UTF-8, and has no word for a full disk.
        _, encoded = cv2.imencode(path.suffix, draw(pixels(picture), result.detections))
        try:
            path.write_bytes(encoded.tobytes())
        except OSError as error:
            raise _unwritable(path, error) from error

    def close(self) -> None:
        """Every frame was written at once."""


class _Video:
    """H.264, which every browser plays. A frame of another size is fitted into the first one's."""

    def __init__(self, path: Path, *, rate: float) -> None:
        import av

        self._path = path
        self._container = av.open(str(path), "w")
        # Ctrl-C ends the main thread's wait, and never what is between encoding and writing:
        # without its first packet no player shows a frame of the file.
        self._encoder = ThreadPoolExecutor(1)
        self._rate = Fraction(rate).limit_denominator(1000)
        self._stream: Any = None

    def add(self, name: str, picture: Picture, result: StreamResult) -> None:
        import av

        drawn = draw(pixels(picture), result.detections)
        if self._stream is None:
            height, width = drawn.shape[:2]
            self._stream = self._container.add_stream("libx264", rate=self._rate)
            # Chroma is stored at half size: H.264 wants even sides.
            self._stream.width, self._stream.height = width - width % 2, height - height % 2
            self._stream.pix_fmt = "yuv420p"
            self._stream.options = {"preset": "veryfast", "crf": "23"}
        frame = av.VideoFrame.from_ndarray(
            cv2.resize(drawn, (self._stream.width, self._stream.height)), format="bgr24"
        )
        try:
            self._encoder.submit(self._write, frame).result()
        except OSError as error:
            raise _unwritable(self._path, error) from error

    def close(self) -> None:
        with self._encoder:
            self._encoder.submit(self._finish).result()

    def _write(self, frame: Any) -> None:
        self._container.mux(self._stream.encode(frame))

    def _finish(self) -> None:
        if self._stream is not None:
            self._write(None)
        self._container.close()
