"""What cameras got is counted within its stretch, the same for measured and simulated ones."""

from __future__ import annotations

import math

import pytest

from visionstack.scale.service_quality import service_quality


def test_answers_count_by_when_they_came_and_frames_by_when_they_were_taken() -> None:
    first = [(0.5, 0.6), (1.5, 1.7), (2.5, 2.9), (3.5, 3.6)]
    second = [(1.0, 1.1), (2.0, 4.2)]
    got = service_quality([first, second], fps=1, begin=1.0, end=4.0, settle=1.0)

    # Of the first camera three came from 1 to 4 s, of the second one: its other came too late.
    assert got.answers_a_second == pytest.approx(4 / 3)
    assert (got.least, got.most) == (1, 3)
    # Two frames of each camera were taken from 1 to 3 s; the last of the second was not answered.
    assert got.answered == pytest.approx(3 / 4)
    assert got.p50_s == pytest.approx(0.15)
    assert (got.least_p50_s, got.most_p50_s) == (pytest.approx(0.1), pytest.approx(0.2))


def test_cameras_without_an_answer_have_no_time() -> None:
    got = service_quality([[], []], fps=1, begin=0, end=2)
    assert got.answers_a_second == got.answered == got.least == got.most == 0
    assert math.isnan(got.p50_s)
    assert math.isnan(got.p99_s)
