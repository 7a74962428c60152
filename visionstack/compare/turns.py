"""This machine's rows, of one comparison or of several, measured in turns.

A machine that is busy or throttled for a while is then as slow for each row, where one row after
the other would make it look like the rows' own. Every second round runs backwards, so that no row
always follows the same one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from runtime.measurement.errors import MeasurementError
from runtime.measurement.results import Measurement, RunResult
from runtime.measurement.statistics import Mark, summarize
from visionstack.compare.machine import ThisMachine, Turn
from visionstack.compare.record import Record, Row, Status
from visionstack.compare.targets import Kind
from visionstack.errors import VisionstackError

TURNS: Final = 5
"""Each takes its share of the scenarios' seconds."""


@dataclass(frozen=True, kw_only=True)
class Party:
    """A comparison that has rows of this machine; `changed` saves and shows it."""

    record: Record
    here: ThisMachine
    changed: Callable[[str], None]


@dataclass(kw_only=True)
class _Entry:
    party: Party
    row: Row
    result: RunResult | None = None


def measure_in_turns(parties: Sequence[Party]) -> None:
    """Measure every open row of this machine; a lone row has one turn.

    Rows that fail say why. On an interruption, rows under way are failed rows.
    """
    entries = [
        _Entry(party=party, row=row)
        for party in parties
        for row in party.record.rows
        if row.kind is Kind.MACHINE and not row.status.final
    ]
    rounds = TURNS if len(entries) > 1 else 1
    for entry in entries:
        entry.row.status = Status.RUNNING
    try:
        for turn in range(rounds):
            for entry in entries if turn % 2 == 0 else reversed(entries):
                if entry.row.status is Status.RUNNING:
                    _turn(entry, turn=turn, of=rounds)
    finally:
        for entry in entries:
            if entry.row.status is Status.RUNNING:
                entry.row.status, entry.row.reason = Status.FAILED, "interrupted"
                entry.party.changed(entry.row.name)


def _turn(entry: _Entry, *, turn: int, of: int) -> None:
    row, party = entry.row, entry.party
    party.changed(row.name if of == 1 else f"{row.name}, turn {turn + 1} of {of}")
    before = entry.result

    def grown(result: RunResult) -> None:
        row.result = joined(before, result).to_json()
        party.changed(row.name)

    try:
        entry.result = joined(
            before,
            party.here.measure(
                party.record,
                grown,
                Turn(number=turn, seconds=party.record.seconds / of, **(row.setting or {})),
            ),
        )
        if turn == of - 1 or entry.result.failure:
            party.record.take(row, entry.result)
            party.changed(row.name)
    except (VisionstackError, MeasurementError) as error:
        row.fail(error)
        party.changed(row.name)


def joined(before: RunResult | None, after: RunResult) -> RunResult:
    """One result of two turns of a row."""
    if before is None:
        return after
    earlier = {(m.scenario, m.scope): m for m in before.measurements}
    later = {(m.scenario, m.scope): m for m in after.measurements}
    return replace(
        before,
        finished=after.finished,
        failure=after.failure,
        measurements=[
            _both(earlier[key], later[key])
            if key in earlier and key in later
            # A turn that has not come to a scenario yet takes nothing from what is there.
            else earlier.get(key) or later[key]
            for key in [*earlier, *(key for key in later if key not in earlier)]
        ],
    )


def _both(before: Measurement, after: Measurement) -> Measurement:
    """A scenario that failed in one turn failed."""
    if before.status != "measured" or after.status != "measured":
        return before if before.status != "measured" else after
    raw = [*before.raw_s, *after.raw_s]
    jumped = any(Mark.CLOCK_JUMP in one.latency_s.marks for one in (before, after) if one.latency_s)
    return replace(
        before,
        seconds=before.seconds + after.seconds,
        pictures=before.pictures + after.pictures,
        latency_s=summarize(raw, clock_jumped=jumped),
        raw_s=raw,
        turns=[*(before.turns or [len(before.raw_s)]), len(after.raw_s)],
        camera=_cameras(before.camera, after.camera),
        loadgen=_loadgens(before.loadgen, after.loadgen),
    )


def _cameras(before: dict[str, Any] | None, after: dict[str, Any] | None) -> dict[str, Any] | None:
    if before is None or after is None:
        return before or after
    summed = {
        key: before[key] + after[key]
        for key in ("frames", "dropped", "late", "seconds", "answered")
    }
    lost = summed["dropped"] + summed["late"]
    return {**before, **summed, "dropped_or_late_share": lost / max(1, summed["frames"])}


def _loadgens(before: dict[str, Any] | None, after: dict[str, Any] | None) -> dict[str, Any] | None:
    """Valid where each turn was; the summary is the first turn's, the logs lie by turn."""
    if before is None or after is None:
        return before or after
    return {**before, "valid": before["valid"] and after["valid"]}
