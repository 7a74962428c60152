"""Bytes to pixels, with the limits checked on the header, before any pixel exists.

Pillow reads every header and every unusual picture; OpenCV decodes the usual ones (8-bit JPEG and
PNG in grey or RGB) and is imported only by `decode_bgr`. Both turn pictures as EXIF says, take the
first frame of an animation, put transparent pixels on white, and give 8 bits a channel.
"""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from runtime.contract import MAX_PICTURE_BYTES, MAX_PICTURE_PIXELS
from runtime.inference.errors import (
    NotAPictureError,
    PictureTooLargeError,
    TooManyPixelsError,
    TruncatedPictureError,
)

Pixels = NDArray[np.uint8]

FORMATS: Final = ("JPEG", "PNG", "GIF", "BMP", "PPM", "WEBP", "TIFF")
"""The formats that are read, those first whose readers Pillow has loaded when it starts. MPO, what
phones write for a JPEG with a second picture, is read by Pillow's JPEG reader."""
_open: Final = Image.open
"""Pillow's own: Ultralytics replaces `Image.open` by one that installs packages."""
# Between one and two times its own limit Pillow only warns; ours is the one that decides, and
# catching warnings around each call would not be safe with threads.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
_SIXTEEN_BIT: Final = ("I;16", "I;16B", "I;16L", "I;16N")
_DAMAGE: Final = (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError)
"""What Pillow's readers raise for damaged files."""
_JPEG_END: Final = b"\xff\xd9"
_PNG_END: Final = b"IEND\xaeB`\x82"


@dataclass(frozen=True, slots=True)
class PictureLimits:
    """Largest file in bytes and largest picture in pixels (width times height)."""

    bytes: int = MAX_PICTURE_BYTES
    pixels: int = MAX_PICTURE_PIXELS


DEFAULT_LIMITS: Final = PictureLimits()


def open_checked(data: bytes, *, limits: PictureLimits = DEFAULT_LIMITS) -> Image.Image:
    """The picture with its header read and checked against `limits`, its pixels not yet decoded.

    Raises `PictureTooLargeError`, `TooManyPixelsError`, `NotAPictureError` and
    `TruncatedPictureError`.
    """
    if len(data) > limits.bytes:
        raise PictureTooLargeError(
            f"The picture has {len(data):,} bytes, more than the {limits.bytes:,} allowed; "
            "send it smaller or compress it more."
        )
    try:
        image = _open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise TooManyPixelsError(
            f"The picture's header announces more than the {limits.pixels:,} pixels allowed."
        ) from error
    except UnidentifiedImageError as error:
        raise NotAPictureError(
            f"The {len(data):,} bytes are not a picture of a known format ({', '.join(FORMATS)})."
        ) from error
    except _DAMAGE as error:
        raise TruncatedPictureError(f"The picture's header is damaged: {error}.") from error
    width, height = image.size
    if width * height > limits.pixels:
        raise TooManyPixelsError(
            f"The picture is {width} x {height} pixels, more than the {limits.pixels:,} allowed."
        )
    if width < 1 or height < 1:
        raise NotAPictureError(f"The picture is {width} x {height} pixels: it is empty.")
    return image


def to_rgb(image: Image.Image) -> Image.Image:
    """Decode an opened picture: 8-bit RGB, turned as EXIF says, on white where transparent."""
    try:
        image.load()
        if image.mode in _SIXTEEN_BIT:
            # Pillow's own conversion clips at 255 instead of scaling.
            image = Image.fromarray((np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8))
        elif image.mode in ("I", "F"):
            image = Image.fromarray(_scaled_to_bytes(np.asarray(image, np.float64)))
        turned = ImageOps.exif_transpose(image)
        if turned.mode != "RGB" and turned.has_transparency_data:
            opaque = Image.new("RGBA", turned.size, "white")
            opaque.alpha_composite(turned.convert("RGBA"))
            turned = opaque
        return turned.convert("RGB")
    except (*_DAMAGE, Image.DecompressionBombError) as error:
        raise TruncatedPictureError(
            f"The picture's pixels are missing or damaged: {error}."
        ) from error


def decode_rgb(data: bytes, *, limits: PictureLimits = DEFAULT_LIMITS) -> Pixels:
    """uint8 (height, width, 3), red first. Pillow only, for the Lambda function."""
    return np.asarray(to_rgb(open_checked(data, limits=limits)))


def decode_bgr(data: bytes, *, limits: PictureLimits = DEFAULT_LIMITS) -> Pixels:
    """uint8 (height, width, 3), blue first, as OpenCV and the detectors have it.

    A usual and complete JPEG or PNG goes through OpenCV, which is faster; all else, and anything
    OpenCV declines, through Pillow, which notices missing pixels.
    """
    image = open_checked(data, limits=limits)
    if _opencv_reads(image, data):
        import cv2

        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        if pixels is not None:
            return np.asarray(pixels, np.uint8)
    return np.ascontiguousarray(np.asarray(to_rgb(image))[:, :, ::-1])


def _opencv_reads(image: Image.Image, data: bytes) -> bool:
    if image.format == "JPEG":
        # OpenCV fills the missing rest of a truncated JPEG with grey; a complete one ends so.
        return image.mode in ("RGB", "L") and data.endswith(_JPEG_END)
    if image.format == "PNG":
        return image.mode == "RGB" and not image.info and data.endswith(_PNG_END)
    return False


def _scaled_to_bytes(values: NDArray[np.float64]) -> Pixels:
    """32-bit integers and floats have no fixed white: 16-bit range if it fits, else stretched."""
    top = float(values.max())
    if top <= 255 and values.min() >= 0:
        return values.astype(np.uint8)
    if values.min() >= 0 and top <= 65535:
        return (values / 257).astype(np.uint8)
    low = float(values.min())
    return ((values - low) * (255 / max(top - low, 1e-12))).astype(np.uint8)
