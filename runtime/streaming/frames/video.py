"""H.264 as it arrives, access unit by access unit, to pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from runtime.protocol.errors import FrameError, FrameErrorCode

if TYPE_CHECKING:
    from av.video.codeccontext import VideoCodecContext
    from av.video.frame import VideoFrame


class VideoDecoder:
    """One stream's decoder: what it makes of a unit depends on those before.

    Units come in display order without reordering (no B-frames), one picture each, Annex B form.
    """

    def __init__(self, *, pixels: int) -> None:
        import av

        codec: VideoCodecContext = av.CodecContext.create("h264", "r")
        # FFmpeg refuses larger pictures when it reads their size, before it allocates them.
        codec.options = {"max_pixels": str(pixels), "flags": "low_delay"}
        codec.thread_type = "NONE"
        self._codec = codec
        self._errors = av.error.FFmpegError
        self._packet = av.Packet
        self._begun = False

    def decode(self, unit: bytes) -> NDArray[np.uint8]:
        """uint8 (height, width, 3), blue first. Raises FrameError."""
        try:
            pictures = self._codec.decode(self._packet(unit))
        except self._errors as error:
            raise self._failed(f"The unit cannot be decoded: {error}") from error
        if not pictures:
            raise self._failed("The unit gave no picture.")
        self._begun = True
        return _bgr(pictures[-1])

    def _failed(self, reason: str) -> FrameError:
        if not self._begun:
            return FrameError(
                FrameErrorCode.NEEDS_KEYFRAME, "The stream has to begin with a key frame."
            )
        return FrameError(FrameErrorCode.UNDECODABLE, reason)


def _bgr(picture: VideoFrame) -> NDArray[np.uint8]:
    if picture.format.name == "yuv420p" and not (picture.width | picture.height) & 1:
        # FFmpeg's own quick conversion is up to four grey levels off; OpenCV's is as quick.
        return np.asarray(cv2.cvtColor(picture.to_ndarray(), cv2.COLOR_YUV2BGR_I420), np.uint8)
    return np.asarray(picture.to_ndarray(format="bgr24"), np.uint8)
