"""The fitted slope that says whether a long run's server grows."""

from __future__ import annotations

import random

import pytest

from benchmarks._flatness import BLOCKS, trend

TIMES = [float(second) for second in range(400)]


def noise(seed: int) -> list[float]:
    chance = random.Random(seed)  # noqa: S311 - the same again, not a secret
    return [200 + chance.gauss(0, 3) for _ in TIMES]


def test_a_straight_line_grows_by_its_slope_and_has_no_width() -> None:
    found = trend(TIMES, [100 + 0.25 * at for at in TIMES], allowed=1.0)
    assert found.growth == pytest.approx(0.25 * 399)
    assert found.low == pytest.approx(found.high)
    assert found.mean == pytest.approx(100 + 0.25 * 199.5)
    assert found.verdict == "grows"


def test_noise_without_growth_is_flat_and_its_interval_holds_zero_nearly_always() -> None:
    found = [trend(TIMES, noise(seed), allowed=4.0) for seed in range(200)]
    assert all(one.verdict == "flat" for one in found)
    # 95 % of the intervals, with the spread of 200 tries (binomial, 3 sigma: 4.6 %).
    assert 0.9 <= sum(one.low <= 0 <= one.high for one in found) / 200 <= 0.997


def test_a_slow_growth_under_noise_is_seen() -> None:
    rising = [value + 10 * at / 399 for value, at in zip(noise(1), TIMES, strict=True)]
    assert trend(TIMES, rising, allowed=4.0).verdict == "grows"


def test_what_the_noise_hides_is_undecided_and_what_shrinks_is_flat() -> None:
    wild = [value + 50 * (int(at) // 40 % 2) for value, at in zip(noise(2), TIMES, strict=True)]
    assert trend(TIMES, wild, allowed=4.0).verdict == "undecided"
    assert trend(TIMES, [500 - at for at in TIMES], allowed=4.0).verdict == "flat"


def test_too_few_samples_are_refused() -> None:
    with pytest.raises(ValueError, match="39 samples are too few; a trend wants 40"):
        trend(TIMES[: 2 * BLOCKS - 1], TIMES[: 2 * BLOCKS - 1], allowed=1.0)
