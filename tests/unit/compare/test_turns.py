"""Rows of this machine take turns: a machine that is busy for a while decides nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from runtime.measurement.results import RunResult
from runtime.measurement.statistics import summarize
from tests.unit.compare.conftest import BOOK, Plan, result
from tests.unit.compare.test_verdict import scored
from visionstack.compare.machine import Turn
from visionstack.compare.record import Record, Status, load
from visionstack.compare.summary import figures
from visionstack.compare.turns import Party, joined, measure_in_turns
from visionstack.compare.verdict import candidates, judge
from visionstack.errors import VisionstackError


class Machine:
    """Four times as slow for its `busy_calls` first; `log` is who was measured, for how long."""

    def __init__(self) -> None:
        self.calls = 0
        self.busy_calls = 0
        self.log: list[tuple[str, int, float]] = []
        self.broken: dict[str, BaseException] = {}

    def for_model(self, seconds_a_picture: float) -> Any:
        machine = self

        class Here:
            def measure(self, record: Record, _tell: object, turn: Turn) -> RunResult:
                machine.log.append((record.model, turn.number, turn.seconds))
                if record.model in machine.broken:
                    raise machine.broken[record.model]
                slow = 4 if machine.calls < machine.busy_calls else 1
                machine.calls += 1
                found = result(record, latency=seconds_a_picture * slow, samples=60)
                found.subject = {**(found.subject or {}), "precision": "fp32"}
                return found

        return Here()


@pytest.fixture
def two(plan: Plan, tmp_path: Path) -> tuple[Machine, list[Party]]:
    machine = Machine()
    parties = []
    for model, seconds in (("quick", 0.010), ("slow", 0.013)):
        record = plan(local=True, local_usd_per_hour=0.1, task="detect")
        record.model = model
        scored(record, "openvino fp32", 0.7)
        parties.append(
            Party(
                record=record,
                here=machine.for_model(seconds),
                changed=lambda _what, r=record: r.save(tmp_path / r.model),  # type: ignore[misc]
            )
        )
    return machine, parties


@pytest.mark.parametrize("busy_calls", [0, 4, 5])
def test_a_busy_machine_slows_every_row_and_the_quicker_model_still_wins(
    two: tuple[Machine, list[Party]], tmp_path: Path, busy_calls: int
) -> None:
    machine, parties = two
    machine.busy_calls = busy_calls
    measure_in_turns(parties)
    assert [name for name, *_ in machine.log[:4]] == ["quick", "slow", "slow", "quick"]
    assert {seconds for *_, seconds in machine.log} == {parties[0].record.seconds / 5}
    records = [party.record for party in parties]
    assert all(record.rows[0].status is Status.MEASURED for record in records)
    shown = figures(records[0], records[0].rows[0], book=BOOK)
    assert shown is not None
    assert list(shown.turns) == [60] * 5
    assert load(tmp_path / "quick").rows[0].run_result() == records[0].rows[0].run_result()
    verdict = judge(candidates(records, book=BOOK), strategy="balanced")
    assert verdict is not None
    assert verdict.winner.name.startswith("quick")
    # Drawn row by row, slow turns would fall on one row and not on the other. A turn that was slow
    # for the quick one alone speaks against it, and is heard.
    assert verdict.shares["quick on this machine"] > 0.85
    assert verdict.sure == (busy_calls != 5)


def test_a_lone_row_is_measured_in_one_go(plan: Plan) -> None:
    record = plan(local=True)
    machine = Machine()
    measure_in_turns([Party(record=record, here=machine.for_model(0.01), changed=lambda _: None)])
    assert machine.log == [("toy", 0, record.seconds)]
    assert record.rows[0].status is Status.MEASURED


def test_a_row_that_fails_has_no_further_turn_and_says_why(
    two: tuple[Machine, list[Party]],
) -> None:
    machine, parties = two
    machine.broken["slow"] = VisionstackError("out of memory")
    measure_in_turns(parties)
    assert [name for name, *_ in machine.log].count("slow") == 1
    assert (parties[1].record.rows[0].status, parties[1].record.rows[0].reason) == (
        Status.FAILED,
        "out of memory",
    )
    assert parties[0].record.rows[0].status is Status.MEASURED


def test_rows_that_an_interruption_meets_are_failed_rows(
    two: tuple[Machine, list[Party]], tmp_path: Path
) -> None:
    machine, parties = two
    machine.broken["slow"] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        measure_in_turns(parties)
    for name in ("quick", "slow"):
        row = load(tmp_path / name).rows[0]
        assert (row.status, row.reason) == (Status.FAILED, "interrupted")


def test_two_turns_are_one_measurement(plan: Plan) -> None:
    record = plan(local=True)
    first, second = result(record, latency=0.01), result(record, latency=0.02, samples=40)
    one, two_ = first.measurements[0], second.measurements[0]
    both = joined(first, second).measurements[0]
    assert both.raw_s == [*one.raw_s, *two_.raw_s]
    assert both.pictures == 240
    assert both.seconds == pytest.approx(one.seconds + two_.seconds)
    assert both.latency_s == summarize(both.raw_s)
    assert both.turns == [200, 40]
    assert joined(joined(first, second), second).measurements[0].turns == [200, 40, 40]
