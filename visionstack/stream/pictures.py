"""Pictures as they are sent: already compressed ones untouched, arrays as the client chose."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from runtime.contract import StreamEncoding
from runtime.protocol.messages import Encoding
from visionstack.stream.errors import StreamError

if TYPE_CHECKING:
    # Most of what an install weighs, and files are sent without it.
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class EncodedPicture:
    """Ready for a frame; width and height are 0 unless it is raw BGR."""

    encoding: Encoding
    data: bytes = field(repr=False)
    width: int = 0
    height: int = 0
    depends: bool = False
    """Whether later frames need this one (H.264)."""
    planes: NDArray[np.uint8] | None = field(default=None, repr=False, compare=False)
    """What it was encoded from, where another server may need it encoded anew (H.264)."""
    video: int = 0
    """Which of the videos that a stream's encoder began it belongs to."""


Picture: TypeAlias = "bytes | Path | NDArray[np.uint8] | EncodedPicture"
"""JPEG, PNG or WebP bytes, a file of one, or uint8 (height, width, 3) with blue first."""


def encode_picture(
    picture: Picture, *, encoding: StreamEncoding = "jpeg", quality: int = 90
) -> EncodedPicture:
    """Raises StreamError, naming the input, for what is no picture."""
    match picture:
        case EncodedPicture():
            return picture
        case Path():
            try:
                return _compressed(picture.read_bytes(), name=str(picture))
            except OSError as error:
                raise StreamError(f"{picture} cannot be read: {error.strerror}.") from error
        case bytes():
            return _compressed(picture, name=f"{len(picture)} bytes")
        case _:
            return _array(picture, encoding=encoding, quality=quality)


def _compressed(data: bytes, *, name: str) -> EncodedPicture:
    if data.startswith(b"\xff\xd8"):
        return EncodedPicture(Encoding.JPEG, data)
    if data.startswith(b"\x89PNG"):
        return EncodedPicture(Encoding.PNG, data)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return EncodedPicture(Encoding.WEBP, data)
    raise StreamError(
        f"{name}: not a JPEG, PNG or WebP picture.", remedy="Convert it, or send it as an array."
    )


def _array(picture: NDArray[np.uint8], *, encoding: StreamEncoding, quality: int) -> EncodedPicture:
    if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != "uint8":
        raise StreamError(
            f"An array of shape {picture.shape} and type {picture.dtype} is no picture.",
            remedy="Give uint8 of shape (height, width, 3), blue first.",
        )
    if encoding == "bgr":
        height, width = picture.shape[:2]
        return EncodedPicture(Encoding.BGR, picture.tobytes(), width, height)
    if encoding == "h264":
        raise StreamError("A single picture cannot be sent as H.264.")
    import cv2

    parameters = {
        "jpeg": [cv2.IMWRITE_JPEG_QUALITY, quality],
        "png": [cv2.IMWRITE_PNG_COMPRESSION, 1],
        "webp": [cv2.IMWRITE_WEBP_QUALITY, quality],
    }[encoding]
    good, data = cv2.imencode(f".{encoding}", picture, parameters)
    if not good:
        raise StreamError(f"The picture of shape {picture.shape} cannot be made a {encoding}.")
    return EncodedPicture(Encoding[encoding.upper()], data.tobytes())
