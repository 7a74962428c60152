"""Intervals by the bootstrap, and differences that are ties."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tests.unit.accuracy.test_detection import ONE, OTHER, Answer, labelled, person
from visionstack.accuracy.detection import Evaluation
from visionstack.accuracy.intervals import (
    FEWEST_BLOCKS,
    Difference,
    Estimate,
    blocks,
    interval_of,
    resamples,
)


def test_frames_of_a_few_seconds_are_drawn_together_and_pictures_alone() -> None:
    assert blocks([0.0, 0.9, 1.0, 2.5, 2.6], seconds=1.0) == [[0, 1], [2], [3, 4]]
    assert blocks([None, None, None]) == [[0], [1], [2]]
    pairs = [[2 * number, 2 * number + 1] for number in range(FEWEST_BLOCKS)]
    assert len(resamples(pairs, times=20)) == 20
    for picks in resamples(pairs, times=20):
        drawn = picks.tolist()
        assert len(drawn) == 2 * FEWEST_BLOCKS
        assert all(drawn.count(a) == drawn.count(b) for a, b in pairs)


def test_the_interval_of_a_mean_is_that_of_the_normal_distribution() -> None:
    values = np.random.default_rng(1).normal(10, 2, 400)
    units = [[place] for place in range(400)]
    drawn = [float(values[picks].mean()) for picks in resamples(units)]
    found = interval_of(float(values.mean()), drawn, units)
    assert found.low is not None
    assert found.high is not None
    assert found.high - found.low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.15)
    assert found.low < found.value < found.high


def test_too_few_pictures_for_an_interval_are_said() -> None:
    few = [[place] for place in range(FEWEST_BLOCKS - 1)]
    assert resamples(few) == []
    found = interval_of(0.5, [], few)
    assert (found.low, found.high) == (None, None)
    assert found.why_none == "7 pictures are too few for an interval: 8 are needed"
    assert "blocks of time" in interval_of(0.5, [], [[0, 1], [2, 3]]).why_none
    assert Difference(estimate=found).verdict == "unknown"
    assert Estimate(value=math.nan, why_none="x").to_json()["value"] is None


@pytest.mark.parametrize(
    ("low", "high", "verdict"), [(0.1, 0.2, "more"), (-0.2, -0.1, "less"), (-0.1, 0.1, "tie")]
)
def test_a_difference_whose_interval_holds_zero_is_a_tie(
    low: float, high: float, verdict: str
) -> None:
    assert Difference(estimate=Estimate(value=0.1, low=low, high=high)).verdict == verdict


def test_resampled_average_precision_is_that_of_the_pictures_drawn() -> None:
    labels = labelled([person(ONE)], [person(ONE), person(OTHER)], [person(OTHER)])
    found = [
        [Answer("person", 0.9, ONE), Answer("person", 0.95, OTHER)],
        [Answer("person", 0.8, ONE)],
        [Answer("person", 0.7, (60, 10, 100, 44))],
    ]
    whole = Evaluation(labels, found)
    every = whole.resampled(np.arange(3))
    assert every == pytest.approx((whole.score.overall.ap50, whole.score.overall.ap50_95))
    for picks in ([0, 0, 1], [2, 2, 2], [1, 0, 2], [1], [0, 1, 1, 2, 2]):
        drawn = labelled(*(list(labels.pictures[place].labels) for place in picks))
        expected = Evaluation(drawn, [found[place] for place in picks]).score.overall
        assert whole.resampled(np.asarray(picks)) == pytest.approx(
            (expected.ap50, expected.ap50_95)
        )
