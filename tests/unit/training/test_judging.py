"""Intervals, calibration and thresholds, against values worked out by hand or by others."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from visionstack.training import judging
from visionstack.training.comparing import interval


def test_wilson_intervals_are_the_published_ones() -> None:
    # Newcombe 1998, table I, method 3: 81 of 263, 15 of 148, 0 of 20, 1 of 29.
    for right, of, low, high in (
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ):
        found = judging.Accuracy(right=right, of=of).interval
        assert found == pytest.approx((low, high), abs=6e-5)


def test_top_k_counts_the_right_ones() -> None:
    logits = np.array([[3.0, 2, 1], [1, 2, 3], [1, 3, 2]])
    product = np.array([0, 1, 0])
    assert judging.top_k(logits, product, 1).right == 1
    assert judging.top_k(logits, product, 2).right == 2
    assert judging.confusion(logits, product, 3).tolist() == [[1, 1, 0], [0, 0, 1], [0, 0, 0]]


@pytest.mark.parametrize("true", [0.3, 1.0, 4.0])
def test_the_temperature_that_made_the_answers_is_found(true: float) -> None:
    random = np.random.default_rng(0)
    logits = random.normal(0, 3, (20_000, 5))
    shares = judging.softmax(logits, true)
    product = (shares.cumsum(1) > random.random((20_000, 1))).argmax(1)
    found = judging.fit_temperature(logits, product)
    assert found == pytest.approx(true, rel=0.05)
    assert judging.calibration_error(logits, product, found) < 0.015
    if true != 1.0:
        assert judging.calibration_error(logits, product) > 0.05


def test_few_pictures_that_are_all_right_do_not_make_every_answer_sure() -> None:
    # 8 of 8 right: the rule of succession expects 9 of 10 of the next ones to be.
    logits = np.random.default_rng(0).normal(0, 0.3, (8, 4))
    product = np.arange(8) % 4
    logits[np.arange(8), product] += 2.5
    assert judging.top_k(logits, product, 1).right == 8
    found = judging.fit_temperature(logits, product)
    sure = judging.softmax(logits, found).max(1)
    assert 0.85 < sure.mean() < 0.95
    none_of_them = np.array([[0.4, 0.1, 0.0, -0.2]])
    assert judging.softmax(none_of_them, found).max() < 0.6


def test_calibration_error_by_hand() -> None:
    # two pictures at 0.9, one right; two at 0.6, both right: (|0.5 - 0.9| + |1 - 0.6|) / 2
    logits = np.log(np.array([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.6, 0.4]]))
    product = np.array([0, 1, 0, 0])
    assert judging.calibration_error(logits, product) == pytest.approx(0.4)


def test_the_threshold_is_the_lowest_that_is_good_enough() -> None:
    sure = np.array([0.99, 0.95, 0.9, 0.8, 0.7, 0.6])
    logits = np.log(np.stack([sure, 1 - sure], 1))
    product = np.array([0, 0, 0, 1, 0, 1])
    assert judging.choose_threshold(logits, product, 1.0, wanted=1.0) == pytest.approx(0.9)
    assert judging.choose_threshold(logits, product, 1.0, wanted=0.8) == pytest.approx(0.7)
    assert judging.choose_threshold(logits, 1 - product, 1.0, wanted=0.9) is None
    found = judging.answered(logits, product, 1.0, 0.9)
    assert (found["answered"], found["accuracy"]["right"]) == (0.5, 3)


@settings(deadline=None, max_examples=20)
@given(st.integers(2, 6), st.integers(10, 60), st.floats(0.1, 0.9))
def test_intervals_of_a_comparison_hold_their_mean(seeds: int, count: int, share: float) -> None:
    random = np.random.default_rng(count)
    values = (random.random((seeds, count)) < share).astype(float)
    mean, low, high = interval(values)
    assert low <= mean <= high


def test_an_interval_over_seeds_and_pictures_covers_the_truth() -> None:
    """Of 100 experiments of known truth about 95 intervals hold it; by chance 85 at least."""
    random = np.random.default_rng(1)
    held = 0
    for _ in range(100):
        picture = random.normal(0.7, 0.2, 200).clip(0, 1)
        values = (random.random((8, 200)) < picture).astype(float)
        _, low, high = interval(values)
        held += low <= 0.695 <= high
    assert held >= 85
