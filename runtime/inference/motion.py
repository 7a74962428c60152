"""Where a box will be in the next frame: a Kalman filter with constant velocity.

State, noise and their scale by the box's height are DeepSORT's (Wojke, Bewley and Paulus, "Simple
Online and Realtime Tracking with a Deep Association Metric", 2017): centre x, centre y, width over
height, height, and the velocity of each. Its matrices couple each of the four only with its own
velocity, so that the 8 x 8 filter is four filters of two states, kept here as rows of four.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

_POSITION: Final = 1 / 20
_VELOCITY: Final = 1 / 160
"""Standard deviations of a frame's step, as shares of the box's height."""
_LEAST_SIZE: Final = 1e-3


class Motion:
    """Position, velocity and their covariances of one box, each (4,): x, y, aspect, height."""

    def __init__(self, box: tuple[float, float, float, float]) -> None:
        self._position = _xyah(box)
        self._velocity = np.zeros(4)
        height = self._position[3]
        self._pp = _squares(2 * _POSITION * height, aspect=1e-2)
        self._pv = np.zeros(4)
        self._vv = _squares(10 * _VELOCITY * height, aspect=1e-5)

    @property
    def box(self) -> tuple[float, float, float, float]:
        """The state's box as (x1, y1, x2, y2)."""
        x, y, aspect, height = self._position.tolist()
        height = max(height, _LEAST_SIZE)
        width = max(aspect * height, _LEAST_SIZE)
        return (x - width / 2, y - height / 2, x + width / 2, y + height / 2)

    def advance(self, *, lost: bool = False) -> None:
        """One frame on. A lost object keeps its height: nothing would correct a growing one."""
        height = self._position[3]
        if lost:
            self._velocity[3] = 0
        self._position += self._velocity
        self._pp += 2 * self._pv + self._vv + _squares(_POSITION * height, aspect=1e-2)
        self._pv += self._vv
        self._vv += _squares(_VELOCITY * height, aspect=1e-5)

    def correct(self, box: tuple[float, float, float, float]) -> None:
        """The object was detected at (x1, y1, x2, y2)."""
        innovation = _xyah(box) - self._position
        total = self._pp + _squares(_POSITION * self._position[3], aspect=1e-1)
        gain, velocity_gain = self._pp / total, self._pv / total
        self._position += gain * innovation
        self._velocity += velocity_gain * innovation
        self._vv -= velocity_gain * self._pv
        self._pp *= 1 - gain
        self._pv *= 1 - gain


def _xyah(box: tuple[float, float, float, float]) -> NDArray[np.float64]:
    x1, y1, x2, y2 = box
    return np.array([(x1 + x2) / 2, (y1 + y2) / 2, (x2 - x1) / (y2 - y1), y2 - y1], np.float64)


def _squares(extent: float, *, aspect: float) -> NDArray[np.float64]:
    return np.array([extent, extent, aspect, extent]) ** 2
