"""Figures and how they read."""

from __future__ import annotations

import math

import pytest

from runtime.measurement.statistics import Mark, Ratio, summarize
from visionstack.report.figures import (
    Absent,
    Kind,
    computed,
    format_number,
    measured,
    paper,
    percentile_figures,
    ratio_figure,
)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.023444, "0.0234"),
        (13.5, "13.5"),
        (13.456, "13.46"),
        (100.0, "100"),
        (123.456, "123.5"),
        (511628.2, "511,628"),
        (0.0, "0"),
        (0.00000645, "0.00000645"),
        (1e-12, "1e-12"),
        (-2.5, "-2.5"),
        (math.inf, "∞"),
        (math.nan, "not a number"),
    ],
)
def test_numbers_are_shown_with_their_telling_digits(value: float, text: str) -> None:
    assert format_number(value) == text


def test_units_stand_where_people_write_them() -> None:
    assert measured(1.5, "USD").text == "$1.50"
    assert measured(98, "%").text == "98%"
    assert measured(13.5, "ms").text == "13.5 ms"
    assert measured(5).text == "5"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.1785, "$0.1785"),
        (0.9, "$0.90"),
        (0.0000048958, "$0.000004896"),
        (3.3, "$3.30"),
        (33, "$33"),
        (448.33, "$448.30"),
        (4483.2, "$4,483"),
        (0, "$0"),
    ],
)
def test_dollars_are_written_as_prices_are(value: float, text: str) -> None:
    assert computed(value, "USD", source="s").text == text


def test_a_papers_number_is_shown_as_it_is_printed() -> None:
    figure = paper(0.219650, "s", printed="0.219650", source="table 1")
    assert figure.text == "0.219650 s"
    assert figure.kind is Kind.PAPER


def test_a_figure_says_what_stands_behind_it() -> None:
    figure = measured(2.0, "ms", samples=1, spread=(1.0, 3.0), marks=[Mark.FEW_SAMPLES])
    assert "1 sample;" in figure.background
    assert "p10 to p90 1 to 3 ms" in figure.background
    assert "fewer than 20 samples" in figure.background
    value = figure.to_json()
    assert value["samples"] == 1
    assert value["marks"] == ["few-samples"]
    assert computed(1, source="a/b").to_json()["source"] == "a/b"
    assert Absent("not run: not available on this machine").to_json() == {
        "absent": "not run: not available on this machine"
    }


def test_percentile_figures_carry_samples_and_the_tails_own_mark() -> None:
    p50, p90, p99 = percentile_figures(summarize([0.010] * 50), "ms", scale=1000)
    assert p50.value == pytest.approx(10)
    assert p50.marks == p90.marks == ()
    assert p99.marks == (Mark.TAIL_UNRESOLVED,)


def test_a_ratio_shows_its_interval() -> None:
    figure = ratio_figure(Ratio(value=2.0, low=1.8, high=2.2, confidence=0.95))
    assert figure.text == "2x"
    assert "95% interval 1.8 to 2.2" in figure.background
    assert figure.interval == "1.8 to 2.2"
    assert measured(2.0, "ms", spread=(1.0, 3.0)).interval == ""
