"""Where boxes will be in the next frame: a Kalman filter with constant velocity for each.

State, noise and their scale by the box's height are DeepSORT's (Wojke, Bewley and Paulus, "Simple
Online and Realtime Tracking with a Deep Association Metric", 2017): centre x, centre y, width over
height, height, and the velocity of each. Its matrices couple each of the four only with its own
velocity, so that the 8 x 8 filter is four filters of two states, kept here as rows of four: a state
is (5, 4), position, velocity and their three covariances, each of x, y, aspect and height.

All functions take many states at once, (n, 5, 4): a call of NumPy for each object took ten times as
long. They return new ones.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

_POSITION: Final = 1 / 20
_VELOCITY: Final = 1 / 160
"""Standard deviations of a frame's step, as shares of the box's height."""
_LEAST_SIZE: Final = 1e-3


def begin(boxes: ArrayLike) -> Floats:
    """The states of objects seen for the first time, from their boxes (n, 4) as x1, y1, x2, y2."""
    position = _xyah(boxes)
    height = position[:, 3]
    zero = np.zeros_like(position)
    pp = _squares(2 * _POSITION * height, aspect=1e-2)
    vv = _squares(10 * _VELOCITY * height, aspect=1e-5)
    return np.array([position, zero, pp, zero, vv]).swapaxes(0, 1)


def boxes(states: Floats) -> Floats:
    """Where the objects are, (n, 4) as x1, y1, x2, y2."""
    x, y, aspect, height = states[:, 0].T
    height = np.maximum(height, _LEAST_SIZE)
    width = np.maximum(aspect * height, _LEAST_SIZE)
    return np.array([x - width / 2, y - height / 2, x + width / 2, y + height / 2]).T


def advance(states: Floats, *, lost: NDArray[np.bool_]) -> Floats:
    """One frame on. A lost object, (n,), keeps its height: nothing would correct a growing one."""
    position, velocity, pp, pv, vv = states.swapaxes(0, 1)
    height = position[:, 3]
    velocity = velocity.copy()
    velocity[lost, 3] = 0
    return np.array(
        [
            position + velocity,
            velocity,
            pp + (2 * pv + vv + _squares(_POSITION * height, aspect=1e-2)),
            pv + vv,
            vv + _squares(_VELOCITY * height, aspect=1e-5),
        ]
    ).swapaxes(0, 1)


def correct(states: Floats, boxes: ArrayLike) -> Floats:
    """The objects were detected at these boxes (n, 4) as x1, y1, x2, y2."""
    position, velocity, pp, pv, vv = states.swapaxes(0, 1)
    innovation = _xyah(boxes) - position
    total = pp + _squares(_POSITION * position[:, 3], aspect=1e-1)
    gain, velocity_gain = pp / total, pv / total
    return np.array(
        [
            position + gain * innovation,
            velocity + velocity_gain * innovation,
            pp * (1 - gain),
            pv * (1 - gain),
            vv - velocity_gain * pv,
        ]
    ).swapaxes(0, 1)


def _xyah(boxes: ArrayLike) -> Floats:
    x1, y1, x2, y2 = np.asarray(boxes, np.float64).T
    return np.array([(x1 + x2) / 2, (y1 + y2) / 2, (x2 - x1) / (y2 - y1), y2 - y1]).T


def _squares(extent: Floats, *, aspect: float) -> Floats:
    squares = np.tile((extent * extent)[:, None], 4)
    squares[:, 2] = aspect * aspect
    return squares
