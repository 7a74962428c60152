"""Percentiles, marks and ratios."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.measurement.statistics import (
    Mark,
    Summary,
    TooFewSamplesError,
    percentile,
    ratio,
    summarize,
)

FINITE = st.floats(-1e6, 1e6, allow_nan=False)


@given(st.lists(FINITE, min_size=1, max_size=60), st.floats(0, 100))
def test_percentiles_are_those_of_numpy(samples: list[float], q: float) -> None:
    assert percentile(samples, q) == pytest.approx(float(np.percentile(samples, q)), abs=1e-6)


def test_a_percentile_of_nothing_and_one_beyond_100_are_refused() -> None:
    with pytest.raises(TooFewSamplesError):
        percentile([], 50)
    with pytest.raises(ValueError, match="101"):
        percentile([1.0], 101)


def test_a_quiet_measurement_has_no_mark() -> None:
    assert summarize([1.0 + 0.001 * (n % 10) for n in range(200)]).marks == ()


def test_few_samples_a_wide_spread_and_a_jumping_clock_are_marked() -> None:
    assert Mark.FEW_SAMPLES in summarize([1.0] * 5).marks
    assert summarize([1.0] * 50).marks == (Mark.TAIL_UNRESOLVED,)
    assert Mark.WIDE_SPREAD in summarize([1.0, 3.0] * 100).marks
    assert Mark.CLOCK_JUMP in summarize([1.0] * 200, clock_jumped=True).marks
    assert all(mark.meaning for mark in Mark)


def test_samples_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        summarize([1.0, math.nan])
    with pytest.raises(TooFewSamplesError):
        summarize([])


def test_a_summary_survives_json() -> None:
    summary = summarize([float(n) for n in range(30)])
    assert Summary.from_json(summary.to_json()) == summary


def test_the_interval_of_a_ratio_holds_the_ratio_and_narrows_with_more_samples() -> None:
    generator = np.random.default_rng(7)
    slow = generator.normal(20, 2, 400).tolist()
    fast = generator.normal(10, 1, 400).tolist()
    many = ratio(slow, fast)
    few = ratio(slow[:12], fast[:12])
    assert many.low <= many.value <= many.high
    assert many.low < 2.0 < many.high or many.value == pytest.approx(2.0, rel=0.03)
    assert few.high - few.low > many.high - many.low


def test_a_ratio_is_repeatable_and_of_means_where_asked() -> None:
    first, second = [1.0, 2.0, 30.0] * 10, [1.0, 1.0, 1.0] * 10
    assert ratio(first, second) == ratio(first, second)
    assert ratio(first, second).value == pytest.approx(2.0)
    assert ratio(first, second, of="mean").value == pytest.approx(11.0)


def test_a_ratio_to_nothing_or_to_zero_is_refused() -> None:
    with pytest.raises(TooFewSamplesError):
        ratio([], [1.0])
    with pytest.raises(ZeroDivisionError):
        ratio([1.0], [0.0])
