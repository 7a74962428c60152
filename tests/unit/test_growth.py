"""The simulation against what was measured: given one camera's steps, it tells of full servers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from benchmarks import growth
from benchmarks.growth import (
    ENOUGH,
    P50_BAND,
    P99_BAND,
    RECORDED,
    THROUGHPUT_BAND,
    simulated,
)

KNOWN: dict[str, Any] = json.loads(RECORDED.read_text("utf-8"))
WORK = sum(sum(KNOWN["times"][step]) for step in ("decode", "inference", "finish")) / len(
    KNOWN["times"]["decode"]
)
FULL = [
    one
    for one in KNOWN["stretches"]
    if one["answers"] >= ENOUGH and one["cameras"] * KNOWN["fps"] * WORK >= 1.2 * one["servers"]
]
TURNS = [one for one in KNOWN["turns"] if one["code"] == "new"]


@pytest.mark.parametrize("one", FULL, ids=lambda one: f"{one['servers']}x{one['cameras']}")
def test_full_servers_answer_as_foretold_from_the_processor_time_they_had(
    one: dict[str, Any],
) -> None:
    had = one["servers_cpu_s"] / one["seconds"] / one["servers"]
    foretold = simulated(
        one["servers"], one["cameras"], KNOWN["times"], end=one["seconds"], had=had
    )
    measured = one["answers"] / one["seconds"]
    assert foretold["answers_a_second"] == pytest.approx(measured, rel=THROUGHPUT_BAND)


@pytest.mark.parametrize("one", TURNS, ids=lambda one: f"{one['cameras']}")
def test_times_and_turns_are_as_foretold_at_the_rate_that_a_full_server_had(
    one: dict[str, Any],
) -> None:
    had = min(1.0, one["answers_a_second"] * WORK)
    foretold = simulated(1, one["cameras"], KNOWN["times"], end=one["seconds"], had=had)
    assert foretold["p50_s"] == pytest.approx(one["p50_s"], rel=P50_BAND)
    assert foretold["p99_s"] == pytest.approx(one["p99_s"], rel=P99_BAND)
    assert abs(foretold["least"] - one["least"]) <= 1
    assert abs(foretold["most"] - one["most"]) <= 1


def test_a_machine_that_was_never_quiet_is_said_and_its_work_is_still_shown(
    capsys: pytest.CaptureFixture[str],
) -> None:
    stretch = {
        "servers": 1,
        "cameras": 1,
        "processors_open": 0.3,
        "servers_cpu_s": 0.5,
        "answers": [[(0.0, 0.2)]],
        "steps": [],
    }
    values = {"seconds": 3.0, "stretches": [stretch], "one_full_stream": []}
    values |= growth.summary(values)
    growth._show(values)
    assert values["left_out"] == 1
    said = capsys.readouterr().out
    assert "quieter machine" in said
    assert "a processor second" in said


def test_there_is_enough_on_record_to_hold_the_simulation_to() -> None:
    assert len(FULL) >= 4
    assert {one["servers"] for one in FULL} == {1, 2, 4}
    assert len(TURNS) >= 6
    assert len(KNOWN["times"]["inference"]) >= 10
