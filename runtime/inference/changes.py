"""The change gate: whether a frame differs enough from the last inferred one to infer it again.

Frames are compared as small grey pictures of cell means. A mean over many pixels keeps what moves
and loses what flickers: sensor noise of standard deviation s moves the mean of n samples by s/√n,
and a JPEG block's mean is its best coded coefficient. The comparison is always with the last frame
that was inferred, so a slow drift adds up until it is seen.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

DEFAULT_SHARE: Final = 0.001
"""A walker some 60 pixels high in a 768 x 576 picture who has moved by half a step."""
DEFAULT_DELTA: Final = 10
DEFAULT_MAX_AGE: Final = 50

_COLUMNS: Final = 96
_SAMPLES: Final = 4
"""A cell is the mean of 4 x 4 samples, each interpolated between neighbouring pixels."""


class ChangeGate:
    """One stream's gate. Frames come one after another, in the stream's order; only `forget` may be
    called from another thread meanwhile.

    share: share of the picture's cells, 0 to 1, that must have changed for the frame to count as
        changed; 0 makes every difference count.
    delta: grey levels by which a cell's mean must differ to have changed.
    max_age: frames in a row that may pass as unchanged; the next one is inferred whatever it shows.
    """

    def __init__(
        self,
        *,
        share: float = DEFAULT_SHARE,
        delta: int = DEFAULT_DELTA,
        max_age: int = DEFAULT_MAX_AGE,
    ) -> None:
        if not 0 <= share <= 1:
            raise ValueError(f"share is a number from 0 to 1, not {share}")
        if not 0 <= delta <= 255:
            raise ValueError(f"delta is a number of grey levels from 0 to 255, not {delta}")
        if max_age < 0:
            raise ValueError(f"max_age is a number of frames, not {max_age}")
        self._share = share
        self._delta = delta
        self._max_age = max_age
        self._age = 0
        self._shape: tuple[int, ...] = ()
        self._inferred: NDArray[np.uint8] | None = None
        self.changed_share = 1.0
        """Share of cells that differed in the last frame; 1 when there was none to compare with."""

    def unchanged(self, frame: NDArray[np.uint8]) -> bool:
        """Whether the last inferred frame's detections still hold for this one.

        `frame` is uint8 (height, width, 3), blue first. After False the caller is expected to
        infer the frame, which is what later ones are compared with; when that fails, `forget`.
        """
        cells = _cells(frame)
        inferred = self._inferred  # `forget` may come meanwhile
        if inferred is None or frame.shape != self._shape:
            self.changed_share = 1.0
        else:
            differing = np.count_nonzero(cv2.absdiff(cells, inferred) > self._delta)
            self.changed_share = differing / cells.size
            if self.changed_share <= self._share and self._age < self._max_age:
                self._age += 1
                return True
        self._inferred, self._shape, self._age = cells, frame.shape, 0
        return False

    def forget(self) -> None:
        """Infer the next frame whatever it shows: there are no detections to go on with."""
        self._inferred = None


def _cells(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Means of the luma, uint8 (rows, columns): the grid follows the picture's proportions.

    The picture is sampled before it is averaged, so that the cost does not grow with its size.
    """
    height, width = frame.shape[:2]
    columns = min(_COLUMNS, max(1, width // _SAMPLES))
    rows = max(1, round(columns * height / width))
    sampled = cv2.resize(
        frame, (columns * _SAMPLES, rows * _SAMPLES), interpolation=cv2.INTER_LINEAR
    )
    luma = cv2.cvtColor(sampled, cv2.COLOR_BGR2GRAY)
    return np.asarray(cv2.resize(luma, (columns, rows), interpolation=cv2.INTER_AREA), np.uint8)
