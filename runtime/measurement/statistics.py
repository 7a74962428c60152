"""What a list of timings says, and what it does not: percentiles, ratios with their spread, marks.

Percentiles interpolate linearly between the two nearest ranks (Hyndman and Fan, "Sample Quantiles
in Statistical Packages", 1996, type 7: the default of NumPy and R). MLPerf's LoadGen takes the
nearest rank; on a hundred samples the two differ by less than the distance of two neighbours.
"""

from __future__ import annotations

import math
import statistics as stdlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Final, Literal

FEWEST_SAMPLES: Final = 20
"""Below this even a median moves visibly from run to run."""
FEWEST_SAMPLES_FOR_P99: Final = 100
"""Below this the 99th percentile is an interpolation next to the largest sample."""
WIDEST_SPREAD: Final = 0.25
"""Inter-quartile range over median: beyond it the machine was busy, or the work not uniform."""


class Mark(StrEnum):
    """A reason to read a measurement with care; it is shown beside the figure, never hidden."""

    FEW_SAMPLES = "few-samples"
    TAIL_UNRESOLVED = "tail-unresolved"
    WIDE_SPREAD = "wide-spread"
    CLOCK_JUMP = "clock-jump"

    @property
    def meaning(self) -> str:
        """One clause for a reader who has not met the mark."""
        return _MEANINGS[self]


_MEANINGS: Final = {
    Mark.FEW_SAMPLES: f"fewer than {FEWEST_SAMPLES} samples",
    Mark.TAIL_UNRESOLVED: f"fewer than {FEWEST_SAMPLES_FOR_P99} samples: p99 is near the maximum",
    Mark.WIDE_SPREAD: "the samples' middle half spreads over more than a quarter of the median",
    Mark.CLOCK_JUMP: "the wall clock was set while measuring; times are from the monotonic clock",
}


class TooFewSamplesError(ValueError):
    """A statistic was asked of an empty list of samples."""


@dataclass(frozen=True)
class Summary:
    """A distribution in a line; every value but `samples` and `spread` has the samples' unit."""

    samples: int
    mean: float
    minimum: float
    p10: float
    p50: float
    p90: float
    p99: float
    maximum: float
    spread: float
    """Inter-quartile range over median."""
    marks: tuple[Mark, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values, as written to result files."""
        return {**asdict(self), "marks": [mark.value for mark in self.marks]}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Summary:
        """The inverse of `to_json`."""
        return cls(**{**value, "marks": tuple(Mark(mark) for mark in value["marks"])})


@dataclass(frozen=True)
class Ratio:
    """A ratio of two medians (or means) with its bootstrap confidence interval."""

    value: float
    low: float
    high: float
    confidence: float

    def to_json(self) -> dict[str, float]:
        """Plain values, as written to result files."""
        return asdict(self)


def percentile(samples: Sequence[float], q: float) -> float:
    """The `q`-th percentile (0 to 100) of unsorted samples, interpolated (type 7).

    Raises:
        TooFewSamplesError: there is no sample.
        ValueError: `q` is outside 0 to 100.
    """
    return _percentile_of_sorted(sorted(samples), q)


def _percentile_of_sorted(ordered: Sequence[float], q: float) -> float:
    if not ordered:
        raise TooFewSamplesError("a percentile needs at least one sample")
    if not 0 <= q <= 100:
        raise ValueError(f"a percentile lies between 0 and 100, not at {q}")
    position = (len(ordered) - 1) * q / 100
    below = math.floor(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (position - below)


def summarize(samples: Sequence[float], *, clock_jumped: bool = False) -> Summary:
    """Percentiles, spread and marks of a list of samples.

    Raises:
        TooFewSamplesError: there is no sample.
        ValueError: a sample is not a finite number.
    """
    if not samples:
        raise TooFewSamplesError("a summary needs at least one sample")
    if not all(math.isfinite(sample) for sample in samples):
        raise ValueError("a sample is not a finite number")
    ordered = sorted(samples)
    median = _percentile_of_sorted(ordered, 50)
    quartiles = _percentile_of_sorted(ordered, 75) - _percentile_of_sorted(ordered, 25)
    spread = quartiles / abs(median) if median else 0.0
    marks = []
    if len(ordered) < FEWEST_SAMPLES:
        marks.append(Mark.FEW_SAMPLES)
    elif len(ordered) < FEWEST_SAMPLES_FOR_P99:
        marks.append(Mark.TAIL_UNRESOLVED)
    if spread > WIDEST_SPREAD:
        marks.append(Mark.WIDE_SPREAD)
    if clock_jumped:
        marks.append(Mark.CLOCK_JUMP)
    return Summary(
        samples=len(ordered),
        mean=stdlib.fmean(ordered),
        minimum=ordered[0],
        p10=_percentile_of_sorted(ordered, 10),
        p50=median,
        p90=_percentile_of_sorted(ordered, 90),
        p99=_percentile_of_sorted(ordered, 99),
        maximum=ordered[-1],
        spread=spread,
        marks=tuple(marks),
    )


def ratio(
    numerator: Sequence[float],
    denominator: Sequence[float],
    *,
    of: Literal["median", "mean"] = "median",
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Ratio:
    """Ratio of two independent samples' medians (or means) with a percentile-bootstrap interval.

    Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13. The interval is
    repeatable: the resampling is seeded.

    Raises:
        TooFewSamplesError: one of the two is empty.
        ZeroDivisionError: the denominator's median (or mean) is zero.
    """
    import numpy as np

    if not numerator or not denominator:
        raise TooFewSamplesError("a ratio needs samples on both sides")
    statistic = np.median if of == "median" else np.mean
    above = np.asarray(numerator, dtype=np.float64)
    below = np.asarray(denominator, dtype=np.float64)
    if statistic(below) == 0:
        raise ZeroDivisionError("the denominator of the ratio is zero")
    generator = np.random.default_rng(seed)
    chunk = 100  # bounds the memory of a resampling to 100 times the samples
    ratios = []
    for start in range(0, resamples, chunk):
        count = min(chunk, resamples - start)
        tops = statistic(generator.choice(above, size=(count, above.size)), axis=1)
        bottoms = statistic(generator.choice(below, size=(count, below.size)), axis=1)
        ratios.append(tops / np.where(bottoms == 0, np.nan, bottoms))
    spread = np.concatenate(ratios)
    tail = (1 - confidence) / 2
    return Ratio(
        value=float(statistic(above) / statistic(below)),
        low=float(np.nanquantile(spread, tail)),
        high=float(np.nanquantile(spread, 1 - tail)),
        confidence=confidence,
    )
