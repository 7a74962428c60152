"""The simulation against what was measured: given one camera's steps, it tells of full servers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from benchmarks import growth
from benchmarks._growth_tables import RECORDED, beyond, simulated
from benchmarks.growth import P50_BAND, P99_BAND, THROUGHPUT_BAND

KNOWN: dict[str, Any] = json.loads(RECORDED.read_text("utf-8"))
BEYOND = beyond(KNOWN)


@pytest.mark.parametrize("one", BEYOND, ids=lambda one: f"{one['servers']}x{one['cameras']}")
def test_servers_beyond_their_limit_answer_as_foretold_from_the_processor_time_they_had(
    one: dict[str, Any],
) -> None:
    """The steps are those of one server below its limit; none of these stretches was looked at."""
    foretold = simulated(KNOWN, one)
    measured = one["answers"] / one["seconds"]
    assert foretold["answers_a_second"] == pytest.approx(measured, rel=THROUGHPUT_BAND)
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
    described = {"machine": {"cores": 2}, "versions": {}, "started": "", "frame_bytes": 1.0}
    values: dict[str, Any] = {"seconds": 3.0, "stretches": [stretch], "one_full_stream": []}
    values |= {"fps": growth.FPS, **described}
    values["counted"] = growth.counted(values)
    growth._show(values)
    assert values["counted"]["stretches"] == []
    said = capsys.readouterr().out
    assert "quieter machine" in said
    assert "a processor second" in said


def test_there_is_enough_on_record_to_hold_the_simulation_to() -> None:
    assert len(BEYOND) >= 8
    assert {one["servers"] for one in BEYOND} == {1, 2, 4}
    assert len(KNOWN["times"]["inference"]) >= 50
