"""How sure a figure is: the bootstrap over pictures, and over blocks of time for video.

A figure's interval is the middle 95 % of its values over resampled pictures (Efron and Tibshirani,
"An Introduction to the Bootstrap", 1993, chapter 13). Neighbouring frames show the same objects, so
a clip is resampled by blocks of time that do not overlap (Carlstein 1986, Annals of Statistics
14(3)). Two models are compared on the same resamples (paired).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

CONFIDENCE: Final = 0.95
RESAMPLES: Final = 400
FEWEST_BLOCKS: Final = 8
"""With fewer pictures or blocks the bootstrap's intervals are much too narrow."""
BLOCK_SECONDS: Final = 3.0
"""Of a clip that does not stand still, about as long as a person takes to pass another."""

Indices = NDArray[np.intp]


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A figure with its 95 % interval, or without one and the reason."""

    value: float
    low: float | None = None
    high: float | None = None
    why_none: str = ""

    @property
    def spread(self) -> tuple[float, float] | None:
        """The interval's ends."""
        return None if self.low is None or self.high is None else (self.low, self.high)

    def to_json(self) -> dict[str, Any]:
        """Plain values; a figure that does not exist is null."""
        plain: dict[str, Any] = {"value": or_null(self.value)}
        if self.low is not None and self.high is not None:
            return plain | {"low": self.low, "high": self.high, "confidence": CONFIDENCE}
        return plain | {"no_interval": self.why_none}


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """The first model's figure less the second's, with its own interval."""

    estimate: Estimate

    @property
    def verdict(self) -> str:
        """`more`, `less`, `tie` (the interval holds zero) or `unknown` (there is none)."""
        if self.estimate.spread is None:
            return "unknown"
        low, high = self.estimate.spread
        if low > 0:
            return "more"
        return "less" if high < 0 else "tie"


def blocks(times: Sequence[float | None], *, seconds: float = BLOCK_SECONDS) -> list[list[int]]:
    """The pictures' places by block of time; a picture without a time is a block of its own."""
    grouped: dict[object, list[int]] = {}
    for place, time in enumerate(times):
        key: object = ("picture", place) if time is None else math.floor(time / seconds + 1e-9)
        grouped.setdefault(key, []).append(place)
    return list(grouped.values())


def resamples(units: Sequence[Sequence[int]], *, times: int = RESAMPLES) -> list[Indices]:
    """As many blocks as there are, drawn with replacement, `times` times; repeatable.

    None where there are too few of them for an interval.
    """
    if len(units) < FEWEST_BLOCKS:
        return []
    generator = np.random.default_rng(0)
    arrays = [np.asarray(unit, np.intp) for unit in units]
    return [
        np.concatenate([arrays[pick] for pick in generator.integers(0, len(arrays), len(arrays))])
        for _ in range(times)
    ]


def interval_of(value: float, values: Sequence[float], units: Sequence[Sequence[int]]) -> Estimate:
    """The figure with the interval of its values over `resamples(units)`."""
    if len(units) < FEWEST_BLOCKS:
        what = "blocks of time" if any(len(unit) > 1 for unit in units) else "pictures"
        return Estimate(
            value=value,
            why_none=f"{len(units)} {what} are too few for an interval: {FEWEST_BLOCKS} are needed",
        )
    known = np.asarray([one for one in values if not math.isnan(one)])
    if not known.size or math.isnan(value):
        return Estimate(value=value, why_none="there is no figure")
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(known, [tail, 1 - tail])
    return Estimate(value=value, low=float(low), high=float(high))


def or_null(value: float) -> float | None:
    """As JSON has it, which knows no NaN."""
    return None if math.isnan(value) else value
