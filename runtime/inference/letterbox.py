"""Letterboxing: a picture scaled to fit the network's input, centred, the rest filled.

The geometry is Ultralytics' (`ultralytics/data/augment.py`, LetterBox with auto=False): scale by
the smaller ratio, round the new size, halve the padding with the odd pixel at the bottom and right.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Letterbox:
    """How a source picture lies in the network's input; all sizes in pixels."""

    source_width: int
    source_height: int
    width: int
    height: int
    scaled_width: int
    scaled_height: int
    left: int
    top: int
    scale_x: float
    scale_y: float

    @classmethod
    def fit(
        cls, *, source: tuple[int, int], target: tuple[int, int], stretch: bool = False
    ) -> Letterbox:
        """`source` and `target` are (width, height), at least 1 x 1.

        With `stretch` the picture fills the input and loses its shape (LetterBox' scale_fill).
        """
        (source_width, source_height), (width, height) = source, target
        if min(source_width, source_height, width, height) < 1:
            raise ValueError(f"sizes must be at least 1 x 1, not {source} and {target}")
        scale_x, scale_y = width / source_width, height / source_height
        if not stretch:
            scale_x = scale_y = min(scale_x, scale_y)
        scaled_width = max(1, round(source_width * scale_x))
        scaled_height = max(1, round(source_height * scale_y))
        return cls(
            source_width=source_width,
            source_height=source_height,
            width=width,
            height=height,
            scaled_width=scaled_width,
            scaled_height=scaled_height,
            left=round((width - scaled_width) / 2 - 0.1),
            top=round((height - scaled_height) / 2 - 0.1),
            scale_x=scale_x,
            scale_y=scale_y,
        )

    def place(self, picture: NDArray[np.uint8], *, fill: int) -> NDArray[np.uint8]:
        """The picture as the input (height, width, 3).

        It is (source_height, source_width, 3), or was decoded smaller: it is scaled to its place
        from whatever size it has.
        """
        import cv2

        placed = np.empty((self.height, self.width, 3), np.uint8)
        bottom, right = self.top + self.scaled_height, self.left + self.scaled_width
        placed[: self.top] = fill
        placed[bottom:] = fill
        placed[self.top : bottom, : self.left] = fill
        placed[self.top : bottom, right:] = fill
        inner = placed[self.top : bottom, self.left : right]
        if picture.shape[:2] == inner.shape[:2]:
            inner[:] = picture
        else:
            size = (self.scaled_width, self.scaled_height)
            cv2.resize(picture, size, dst=inner, interpolation=cv2.INTER_LINEAR)
        return placed

    def to_source(self, boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Boxes (n, 4) x1 y1 x2 y2 in input pixels to pixels of the source, kept inside it."""
        moved = boxes - np.array([self.left, self.top, self.left, self.top], np.float32)
        moved /= self._scale
        np.clip(moved[:, 0::2], 0, self.source_width, out=moved[:, 0::2])
        np.clip(moved[:, 1::2], 0, self.source_height, out=moved[:, 1::2])
        return moved

    @property
    def _scale(self) -> NDArray[np.float32]:
        return np.array([self.scale_x, self.scale_y, self.scale_x, self.scale_y], np.float32)
