"""Whether a quantity that is sampled over time stays flat: a fitted slope with its interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

import numpy as np

BLOCKS: Final = 20
"""Neighbouring samples hang together; means of blocks much less, so the slope is fitted to them."""
_STUDENT: Final = 2.101
"""Two-sided 95 % quantile of Student's t with BLOCKS - 2 degrees of freedom."""

Verdict = Literal["flat", "grows", "undecided"]


@dataclass(frozen=True, slots=True)
class Trend:
    """Growth from the first sample to the last in the samples' unit, with its 95 % interval."""

    samples: int
    mean: float
    growth: float
    low: float
    high: float
    allowed: float

    @property
    def verdict(self) -> Verdict:
        """Flat: even the interval's upper end is within what is allowed. Grows: its lower end is
        not. Else there were too few samples to say."""
        if self.high <= self.allowed:
            return "flat"
        return "grows" if self.low > self.allowed else "undecided"

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "verdict": self.verdict}


def trend(times: Sequence[float], values: Sequence[float], *, allowed: float) -> Trend:
    """Of samples in the order of their times. Raises ValueError below two for each block."""
    if len(times) < 2 * BLOCKS:
        raise ValueError(f"{len(times)} samples are too few; a trend wants {2 * BLOCKS}.")
    blocks = np.array_split(np.arange(len(times)), BLOCKS)
    when = np.array([np.mean([times[i] for i in block]) for block in blocks])
    what = np.array([np.mean([values[i] for i in block]) for block in blocks])
    (slope, _), covariance = np.polyfit(when, what, 1, cov=True)
    error = math.sqrt(covariance[0, 0])
    span = times[-1] - times[0]
    return Trend(
        samples=len(times),
        mean=float(what.mean()),
        growth=float(slope) * span,
        low=(float(slope) - _STUDENT * error) * span,
        high=(float(slope) + _STUDENT * error) * span,
        allowed=allowed,
    )
