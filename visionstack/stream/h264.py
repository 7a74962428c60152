"""Arrays to H.264 for thin uplinks: a fraction of JPEG's bytes, at the price of encoding time."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from runtime.protocol.messages import Encoding
from visionstack.stream.errors import StreamError
from visionstack.stream.pictures import EncodedPicture

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

KEY_INTERVAL = 60
"""Frames between key frames, so that a stream that lost its server can be taken up again."""


class H264Encoder:
    """One unit a picture, at once, none out of order. `quality` 0 to 100 as for JPEG.

    May be called from several threads; the units are to be decoded in the order of the calls.
    """

    def __init__(self, *, quality: int) -> None:
        # x264's constant rate factor: 18 is taken for visually lossless, 28 for visibly worse.
        self._crf = round(38 - quality / 5)
        self._codec: Any = None
        self._size = (0, 0)
        self._number = 0
        self._key = True
        self._lock = threading.Lock()
        self.video = 0
        """Counts the videos begun by `restart`: units of an earlier one are of no use any more."""

    def restart(self, pictures: Sequence[EncodedPicture] = ()) -> list[EncodedPicture]:
        """Begin a new video: whoever decodes it knows none of the units before.

        `pictures` come first in it, encoded again; what is no H.264 is given back as it is.
        """
        with self._lock:
            self.video += 1
            self._key = True
            return [
                picture if picture.planes is None else self._encode(picture.planes)
                for picture in pictures
            ]

    def encode(self, picture: NDArray[np.uint8]) -> EncodedPicture:
        """`picture` is uint8 (height, width, 3), blue first; odd sides lose a row or column."""
        import cv2
        import numpy as np

        height, width = (side - side % 2 for side in picture.shape[:2])
        # FFmpeg's own quick conversion is up to four grey levels off.
        planes = cv2.cvtColor(
            np.ascontiguousarray(picture[:height, :width]), cv2.COLOR_BGR2YUV_I420
        )
        with self._lock:
            return self._encode(np.asarray(planes, np.uint8))

    def renew(self, picture: EncodedPicture) -> EncodedPicture:
        """The same picture in the present video."""
        with self._lock:
            if picture.planes is None or picture.video == self.video:
                return picture
            return self._encode(picture.planes)

    def _encode(self, planes: NDArray[np.uint8]) -> EncodedPicture:
        """`planes` is uint8 (height x 3/2, width): Y, then U and V at half the size."""
        import av

        width, height = planes.shape[1], planes.shape[0] * 2 // 3
        if self._codec is None or (width, height) != self._size or self._key:
            self._begin(width, height)
        frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
        frame.pts = self._number
        self._number += 1
        packets = self._codec.encode(frame)
        if len(packets) != 1:
            raise StreamError(f"The encoder made {len(packets)} units of one picture.")
        data = bytes(packets[0])
        return EncodedPicture(Encoding.H264, data, depends=True, planes=planes, video=self.video)

    def _begin(self, width: int, height: int) -> None:
        import av

        codec: Any = av.CodecContext.create("libx264", "w")
        codec.width, codec.height = width, height
        codec.pix_fmt = "yuv420p"
        codec.time_base = Fraction(1, 1000)
        codec.gop_size = KEY_INTERVAL
        codec.max_b_frames = 0
        codec.options = {"preset": "veryfast", "tune": "zerolatency", "crf": str(self._crf)}
        self._codec, self._size, self._key = codec, (width, height), False
