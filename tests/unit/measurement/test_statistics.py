"""Percentiles, marks and ratios."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.measurement.statistics import (
    Mark,
    Ratio,
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


def test_a_ratio_is_written_with_its_interval_and_what_that_is_worth() -> None:
    written = json.loads(json.dumps(Ratio(2.0, 1.5, 2.5, confidence=0.95).to_json()))
    assert written == {"value": 2.0, "low": 1.5, "high": 2.5, "confidence": 0.95}


def test_a_ratio_to_nothing_or_to_zero_is_refused() -> None:
    with pytest.raises(TooFewSamplesError):
        ratio([], [1.0])
    with pytest.raises(ZeroDivisionError):
        ratio([1.0], [0.0])


def test_a_summary_of_the_numbers_up_to_101_is_what_anyone_can_count() -> None:
    """Type 7 (Hyndman and Fan, 1996) on 1 to 101: the q-th percentile is q + 1."""
    summary = summarize([float(n) for n in reversed(range(1, 102))])
    assert (summary.samples, summary.mean, summary.minimum, summary.maximum) == (101, 51, 1, 101)
    assert (summary.p10, summary.p50, summary.p90, summary.p99) == (11, 51, 91, 100)
    assert summary.spread == pytest.approx((76 - 26) / 51)


def test_the_spread_of_negative_samples_is_positive_and_of_a_zero_median_none() -> None:
    assert summarize([-7.0, -8.0, -9.0, -7.0, -9.0]).spread == pytest.approx(2 / 8)
    assert summarize([-1.0, 0.0, 1.0]).spread == 0


@pytest.mark.parametrize(
    ("samples", "marks"),
    [
        (19, {Mark.FEW_SAMPLES}),
        (20, {Mark.TAIL_UNRESOLVED}),
        (99, {Mark.TAIL_UNRESOLVED}),
        (100, set()),
    ],
)
def test_marks_of_the_number_of_samples_begin_where_their_meaning_says(
    samples: int, marks: set[Mark]
) -> None:
    found = summarize([1.0] * samples).marks
    assert set(found) == marks
    assert all(str(samples + 1) in mark.meaning for mark in found if samples in (19, 99))


def test_more_than_a_quarter_of_the_median_is_a_wide_spread_and_a_quarter_is_none() -> None:
    assert Mark.WIDE_SPREAD not in summarize([7.0, 8.0, 9.0, 7.0, 9.0] * 40).marks
    assert Mark.WIDE_SPREAD in summarize([7.0, 8.0, 9.01, 7.0, 9.01] * 40).marks


def test_the_bounds_of_a_percentile_are_its_least_and_largest_sample() -> None:
    assert (percentile([3.0, 1.0, 2.0], 0), percentile([3.0, 1.0, 2.0], 100)) == (1, 3)
    with pytest.raises(ValueError, match="-1"):
        percentile([1.0], -1)


@pytest.mark.parametrize(("confidence", "z"), [(0.95, 1.960), (0.5, 0.674)])
def test_the_interval_is_as_wide_as_the_normal_distribution_says(
    confidence: float, z: float
) -> None:
    """Of a mean over a constant: mean +- z standard errors, over the constant."""
    samples = np.random.default_rng(5).normal(20, 2, 900)
    found = ratio(samples.tolist(), [10.0] * 4, of="mean", confidence=confidence)
    half = z * samples.std() / np.sqrt(len(samples)) / 10
    assert found.high - found.value == pytest.approx(half, rel=0.12)
    assert found.value - found.low == pytest.approx(half, rel=0.12)
    assert found.confidence == confidence


def test_the_denominator_is_resampled_as_well() -> None:
    """Of a constant over a mean: the interval of the inverse, by the delta method."""
    samples = np.random.default_rng(6).normal(20, 2, 900)
    found = ratio([10.0] * 4, samples.tolist(), of="mean")
    half = 1.96 * samples.std() / np.sqrt(len(samples)) * 10 / samples.mean() ** 2
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=0.12)


def test_where_nothing_is_said_the_interval_is_of_95_percent_and_2000_seeded_resamples() -> None:
    first, second = [1.0, 2.0, 30.0, 4.0] * 10, [1.0, 1.5, 2.0] * 10
    said = ratio(first, second, of="median", confidence=0.95, resamples=2000, seed=0)
    assert ratio(first, second) == said
    assert ratio(first, second, of="mean") == ratio(
        first, second, of="mean", resamples=2000, seed=0
    )


def test_a_resampled_denominator_of_zero_is_left_out_of_the_interval() -> None:
    """One of three is zero: a 27th of the resampled means of three are."""
    found = ratio([6.0], [0.0, 1.0, 2.0], of="mean")
    assert found.value == 6.0
    assert found.low == pytest.approx(3.0)
    assert found.high == pytest.approx(18.0)


def test_either_side_without_samples_is_too_few() -> None:
    for sides in (([], [1.0]), ([1.0], []), ([], [])):
        with pytest.raises(TooFewSamplesError):
            ratio(*sides)
