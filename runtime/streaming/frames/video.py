"""H.264 as it arrives, access unit by access unit, to pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from runtime.protocol.errors import FrameError, FrameErrorCode
from runtime.protocol.limits import LIGHT_BYTES, VIDEO_REFERENCE_BYTES
from runtime.streaming.errors import MemoryNeededError
from runtime.streaming.frames.h264 import (
    BadParameterSetError,
    PictureBuffer,
    TooManyPartsError,
    part_bytes,
    picture_buffers,
)
from runtime.streaming.memory import MemoryBudget

if TYPE_CHECKING:
    from av.video.codeccontext import VideoCodecContext
    from av.video.frame import VideoFrame

_WITH_MOTION: Final = 1.5
"""FFmpeg keeps motion vectors and kinds of blocks beside each picture: 1.2 to 1.4 times their bytes
were measured (4096x2304 with 1 reference, 2048x1024 with 4, 1280x720 with 16)."""


class VideoDecoder:
    """One stream's decoder: what it makes of a unit depends on those before.

    Units come in display order without reordering (no B-frames), one picture each, Annex B form.
    `memory` is what the reference pictures of all streams come from; `close` gives them back.
    """

    def __init__(self, *, pixels: int, memory: MemoryBudget | None = None) -> None:
        import av

        self._pixels = pixels
        self._codec = _codec(pixels)
        self._errors = av.error.FFmpegError
        self._packet = av.Packet
        self._begun = False
        self._memory = memory
        self._taken = 0
        self._sets: dict[int, PictureBuffer] = {}
        """The parameter sets that the decoder has, by their number: a slice may name any."""
        self._buffers = self._parts = 0
        """Bytes of pictures that are kept, and of parts of units."""
        self._picture_bytes = 0
        """Of a decoded picture on its way to an array, which is 3 bytes a pixel."""
        self._refused: FrameError | None = None

    def decode(self, unit: bytes, *, memory: int = LIGHT_BYTES) -> NDArray[np.uint8]:
        """uint8 (height, width, 3), blue first. Raises FrameError, and MemoryNeededError before
        it has looked at the unit where the picture takes more than `memory` (bytes)."""
        self._check(unit)
        if self._picture_bytes > memory:
            raise MemoryNeededError(self._picture_bytes)
        try:
            pictures = self._codec.decode(self._packet(unit))
        except self._errors as error:
            raise self._failed(f"The unit cannot be decoded: {error}") from error
        if not pictures:
            failed = self._failed("The unit gave no picture.")
            if self._codec.has_b_frames:
                # It keeps up to 16 pictures back that are counted nowhere, and that would be taken
                # for those of later frames; and it would go on so with any parameter set.
                self._codec = _codec(self._pixels)
                self._sets.clear()
                self._begun = False
            raise failed
        self._begun = True
        return _bgr(pictures[-1])

    def close(self) -> None:
        """Give back the memory of the reference pictures. No unit may come after."""
        del self._codec
        if self._memory is not None:
            self._memory.give(self._taken)
        self._taken = 0

    def _check(self, unit: bytes) -> None:
        """Raises FrameError when the unit, or the stream since then, asks for too much."""
        try:
            parts = max(self._parts, part_bytes(unit))
        except TooManyPartsError as error:
            raise FrameError(FrameErrorCode.UNDECODABLE, f"The unit has {error}.") from error
        try:
            asked = list(picture_buffers(unit))
            if asked:
                self._refused = self._reserve(asked)
        except BadParameterSetError as error:
            self._refused = FrameError(
                FrameErrorCode.UNDECODABLE, f"The stream's parameter set cannot be read: {error}."
            )
        if self._refused is not None:
            raise FrameError(self._refused.code, self._refused.reason)
        if not self._take(self._buffers + parts):
            raise _without_memory(f"a unit of so many parts, {parts:,} bytes")
        self._parts = parts

    def _reserve(self, asked: list[PictureBuffer]) -> FrameError | None:
        """For all that the unit's slices may name: what it brings, and what was there before."""
        named = [*self._sets.values(), *asked]
        largest = max(named, key=lambda one: one.reference_bytes)
        size = f"{largest.references} reference pictures of {largest.width} x {largest.height}"
        if largest.reference_bytes > VIDEO_REFERENCE_BYTES:
            return FrameError(
                FrameErrorCode.TOO_MANY_PIXELS,
                f"The stream wants {size} pixels, {largest.reference_bytes:,} bytes where "
                f"{VIDEO_REFERENCE_BYTES:,} are allowed; encode it with fewer references.",
            )
        # The decoder has one more in the making, and one that is shown.
        pictures = max(one.reference_bytes + 2 * one.picture_bytes for one in named)
        buffers = int(_WITH_MOTION * pictures)
        if not self._take(buffers + self._parts):
            return _without_memory(f"{size} pixels")
        self._sets |= {one.number: one for one in asked}
        self._buffers = buffers
        self._picture_bytes = max(
            2 * one.picture_bytes + 3 * one.width * one.height for one in named
        )
        return None

    def _take(self, needed: int) -> bool:
        """Have so much of the memory of all streams; False when there is too little left."""
        more = needed - self._taken
        if self._memory is None or more <= 0:
            return True
        if not self._memory.take(more):
            return False
        self._taken = needed
        return True

    def _failed(self, reason: str) -> FrameError:
        if not self._begun:
            return FrameError(
                FrameErrorCode.NEEDS_KEYFRAME, "The stream has to begin with a key frame."
            )
        return FrameError(FrameErrorCode.UNDECODABLE, reason)


def _codec(pixels: int) -> VideoCodecContext:
    import av

    codec: VideoCodecContext = av.CodecContext.create("h264", "r")
    # FFmpeg refuses larger pictures when it reads their size, before it allocates them.
    codec.options = {"max_pixels": str(pixels), "flags": "low_delay"}
    codec.thread_type = "NONE"
    return codec


def _without_memory(wanted: str) -> FrameError:
    return FrameError(
        FrameErrorCode.TOO_MANY_PIXELS,
        f"The stream wants {wanted}, and other streams have the memory for that now; send single "
        "pictures, or try another server.",
    )


def _bgr(picture: VideoFrame) -> NDArray[np.uint8]:
    if picture.format.name == "yuv420p" and not (picture.width | picture.height) & 1:
        # FFmpeg's own quick conversion is up to four grey levels off; OpenCV's is as quick.
        return np.asarray(cv2.cvtColor(picture.to_ndarray(), cv2.COLOR_YUV2BGR_I420), np.uint8)
    return np.asarray(picture.to_ndarray(format="bgr24"), np.uint8)
