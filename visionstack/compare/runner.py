"""Runs a plan: rows fill one by one, the record is saved each time, all is destroyed at the end.

Ctrl-C, an error and the end of the run pass through the same `finally`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from runtime.contract import Stack
from runtime.measurement.errors import MeasurementError
from visionstack.cloud.aws_errors import CredentialsError, TemporaryError
from visionstack.compare.fleets import Fleets
from visionstack.compare.functions import Functions
from visionstack.compare.machine import Here
from visionstack.compare.record import Record, Row, Status
from visionstack.compare.rows import fail, has_measurements, take
from visionstack.compare.targets import FunctionSetting, Kind
from visionstack.compare.turns import Party, measure_in_turns
from visionstack.errors import VisionstackError

_POLL_S: Final = 5.0
_GRACE_S: Final = 600.0
"""For an instance to boot and install, above the time its measurement may take."""
_UNSEEN_S: Final = 300.0
"""How long AWS may be too busy, or out of reach, to say what has become of an instance."""


@dataclass(frozen=True)
class Executors:
    """What does the work; fakes in tests."""

    here: Here
    fleets: Fleets
    functions: Functions
    destroy: Callable[[Record], None]
    """Destroys what the record says was deployed."""


def run(
    record: Record,
    folder: Path,
    executors: Executors,
    *,
    minutes: int,
    tell: Callable[[Record, str], None] = lambda _record, _what: None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Record:
    """Measure every row that is not final yet.

    Raises:
        VisionstackError: what was deployed could not be destroyed.
        CredentialsError: they expired while instances were measured.
        KeyboardInterrupt: after everything was destroyed.
    """

    def changed(what: str) -> None:
        record.save(folder)
        tell(record, what)

    changed("planned")
    if record.deployed:
        # An interrupted run's stacks would be changed instead of made, and may be broken.
        tell(record, "destroying what an earlier run left")
        executors.destroy(record)
    cut = "interrupted"
    try:
        _machines(record, executors.here, changed)
        _instances(
            record,
            folder,
            executors,
            changed,
            deadline_s=minutes * 60 + _GRACE_S,
            clock=clock,
            sleep=sleep,
        )
        _functions(record, executors.functions, changed)
    except CredentialsError as error:
        cut = error.message
        raise
    finally:
        for row in record.rows:
            if row.status is Status.RUNNING:
                row.status, row.reason = Status.FAILED, cut
        try:
            if record.deployed:
                tell(record, "destroying")
                executors.destroy(record)
        finally:
            changed("done")
    return record


def _machines(record: Record, here: Here, changed: Callable[[str], None]) -> None:
    measure_in_turns([Party(record=record, here=here, changed=changed)])
    for row in _open(record, Kind.DARKNET):
        row.status = Status.RUNNING
        changed(row.name)
        try:
            take(record, row, here.darknet(record))
        except (VisionstackError, MeasurementError) as error:
            fail(row, error)
        changed(row.name)


def _instances(
    record: Record,
    folder: Path,
    executors: Executors,
    changed: Callable[[str], None],
    *,
    deadline_s: float,
    clock: Callable[[], float],
    sleep: Callable[[float], None],
) -> None:
    names = [row.name for row in _open(record, Kind.INSTANCE)]
    for batch in executors.fleets.batches(names) if names else ():
        _batch(
            record,
            batch,
            folder,
            executors,
            changed,
            deadline_s=deadline_s,
            clock=clock,
            sleep=sleep,
        )


def _batch(
    record: Record,
    names: list[str],
    folder: Path,
    executors: Executors,
    changed: Callable[[str], None],
    *,
    deadline_s: float,
    clock: Callable[[], float],
    sleep: Callable[[float], None],
) -> None:
    waiting = [record.row(name) for name in names]
    _note_deployed(record, Stack.STORAGE, Stack.COMPARISON)
    for row in waiting:
        row.status = Status.RUNNING
    changed(f"deploying {', '.join(row.name for row in waiting)}")
    try:
        executors.fleets.deploy([row.name for row in waiting])
    except VisionstackError as error:
        for row in waiting:
            fail(row, error)
        changed("the fleets could not be deployed")
        return
    end = clock() + deadline_s
    seen = {row.name: clock() for row in waiting}
    while waiting and clock() < end:
        for row in list(waiting):
            try:
                done = _done(record, row, folder, executors.fleets)
                seen[row.name] = clock()
            except TemporaryError as error:
                done = clock() - seen[row.name] > _UNSEEN_S
                if done:
                    fail(row, error)
            if done:
                waiting.remove(row)
                changed(row.name)
        if waiting:
            changed(f"waiting for {', '.join(row.name for row in waiting)}")
            sleep(_POLL_S)
    for row in waiting:
        row.status = Status.MEASURED if has_measurements(row) else Status.FAILED
        row.reason = f"it had not finished after {deadline_s / 60:.0f} minutes"
        changed(f"{row.name}: its time is over")


def _done(record: Record, row: Row, folder: Path, fleets: Fleets) -> bool:
    """Take what a type has written; True when no more will come.

    Raises:
        TemporaryError: it could not be seen this time.
        CredentialsError: nothing can be seen any more.
    """
    try:
        progress = fleets.look(row.name)
        if progress.result is None:
            if progress.refusal is None:
                return False
            row.status, row.reason = Status.NOT_RUN, progress.refusal
            return True
        if not progress.result.finished:
            row.result = progress.result.to_json()
            return False
        take(record, row, progress.result)
        fleets.fetch_logs(row.name, folder / row.name / "loadgen")
    except (CredentialsError, TemporaryError):
        raise
    except (VisionstackError, MeasurementError) as error:
        fail(row, error)
    return True


def _functions(record: Record, functions: Functions, changed: Callable[[str], None]) -> None:
    for row in _open(record, Kind.FUNCTION):
        setting = FunctionSetting(**(row.setting or {}))
        row.status = Status.RUNNING
        stacks = [Stack.STORAGE, Stack.CLASSIFIER]
        if setting.cold_start == "warmer":
            stacks.append(Stack.WARMER)
        _note_deployed(record, *stacks)
        changed(row.name)
        try:
            row.function = functions.measure(setting, partial(_step, changed, row.name))
            row.status, row.reason = Status.MEASURED, None
        except VisionstackError as error:
            fail(row, error)
        changed(row.name)


def _step(changed: Callable[[str], None], name: str, what: str) -> None:
    changed(f"{name}: {what}")


def _open(record: Record, *kinds: Kind) -> list[Row]:
    return [row for row in record.rows if row.kind in kinds and not row.status.final]


def _note_deployed(record: Record, *stacks: str) -> None:
    """Written down before the deploy: an interrupted one leaves something to destroy too."""
    for stack in stacks:
        name = f"{record.prefix}-{stack}"
        if name not in record.deployed:
            record.deployed.append(name)
