"""The bytes of a frame that is a picture by itself to pixels, within the limits."""

from __future__ import annotations

import numpy as np

from runtime.inference.errors import DecodedTooLargeError, PictureError, TooManyPixelsError
from runtime.inference.pictures import Picture, PictureLimits, Reduction, read_picture
from runtime.protocol.errors import FrameError, FrameErrorCode
from runtime.protocol.limits import LIGHT_BYTES
from runtime.protocol.messages import Encoding, Frame
from runtime.streaming.errors import MemoryNeededError

_MAGIC = {Encoding.JPEG: (b"\xff\xd8",), Encoding.PNG: (b"\x89PNG",), Encoding.WEBP: (b"RIFF",)}
_LONGEST_SIDE = 65_535
"""Width and height are 16-bit numbers in a result."""


def decode_picture(
    frame: Frame, *, pixels: int, memory: int = LIGHT_BYTES, reduction: Reduction | None = None
) -> Picture:
    """Blue first, of a frame in any encoding but H.264.

    `memory` is what decoding may take, in bytes; `reduction` says how much smaller it may be done.
    Raises FrameError, and MemoryNeededError where `memory` is too little.
    """
    if frame.encoding is Encoding.BGR:
        return _raw(frame, pixels=pixels)
    return _compressed(frame, pixels=pixels, memory=memory, reduction=reduction)


def _raw(frame: Frame, *, pixels: int) -> Picture:
    width, height = frame.width, frame.height
    if width * height > pixels:
        raise FrameError(
            FrameErrorCode.TOO_MANY_PIXELS, f"{width} x {height} where {pixels:,} are allowed."
        )
    if not width * height or len(frame.payload) != width * height * 3:
        raise FrameError(
            FrameErrorCode.SIZE_MISMATCH,
            f"{len(frame.payload):,} bytes are not {width} x {height} pixels of 3 bytes.",
        )
    return Picture.whole(np.frombuffer(bytes(frame.payload), np.uint8).reshape(height, width, 3))


def _compressed(frame: Frame, *, pixels: int, memory: int, reduction: Reduction | None) -> Picture:
    data = bytes(frame.payload)
    if not data.startswith(_MAGIC[frame.encoding]):
        raise FrameError(
            FrameErrorCode.UNDECODABLE, f"The frame is not {frame.encoding.name}, as it says."
        )
    try:
        limits = PictureLimits(pixels=pixels, decoded_bytes=memory)
        picture = read_picture(data, limits=limits, reduction=reduction)
    except DecodedTooLargeError as error:
        raise MemoryNeededError(error.needed) from None
    except TooManyPixelsError as error:
        raise FrameError(FrameErrorCode.TOO_MANY_PIXELS, error.message) from error
    except PictureError as error:
        raise FrameError(FrameErrorCode.UNDECODABLE, error.message) from error
    if max(picture.width, picture.height) > _LONGEST_SIDE:
        raise FrameError(
            FrameErrorCode.TOO_MANY_PIXELS, f"A side is longer than {_LONGEST_SIDE} pixels."
        )
    return picture
