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
from visionstack.compare.fleets import StackFleets
from visionstack.compare.functions import StackFunctions
from visionstack.compare.machine import ThisMachine
from visionstack.compare.record import Record, Row, Status
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

    here: ThisMachine
    fleets: StackFleets
    functions: StackFunctions
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
    deadline_s = minutes * 60 + _GRACE_S
    running = _Run(record, folder, executors, tell, deadline_s, clock, sleep)
    running.changed("planned")
    if record.deployed:
        # An interrupted run's stacks would be changed instead of made, and may be broken.
        tell(record, "destroying what an earlier run left")
        executors.destroy(record)
    cut = "interrupted"
    try:
        running.machines()
        running.instances()
        running.functions()
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
            running.changed("done")
    return record


@dataclass(frozen=True)
class _Run:
    """What the rows of one run share."""

    record: Record
    folder: Path
    executors: Executors
    tell: Callable[[Record, str], None]
    deadline_s: float
    clock: Callable[[], float]
    sleep: Callable[[float], None]

    def changed(self, what: str) -> None:
        self.record.save(self.folder)
        self.tell(self.record, what)

    def machines(self) -> None:
        here = self.executors.here
        measure_in_turns([Party(record=self.record, here=here, changed=self.changed)])
        for row in self._open(Kind.DARKNET):
            row.status = Status.RUNNING
            self.changed(row.name)
            try:
                self.record.take(row, here.darknet(self.record))
            except (VisionstackError, MeasurementError) as error:
                row.fail(error)
            self.changed(row.name)

    def instances(self) -> None:
        names = [row.name for row in self._open(Kind.INSTANCE)]
        for batch in self.executors.fleets.batches(names) if names else ():
            self._batch([self.record.row(name) for name in batch])

    def functions(self) -> None:
        for row in self._open(Kind.FUNCTION):
            setting = FunctionSetting(**(row.setting or {}))
            row.status = Status.RUNNING
            self._note_deployed(*setting.stacks)
            self.changed(row.name)
            try:
                row.function = self.executors.functions.measure(setting, partial(self._step, row))
                row.status, row.reason = Status.MEASURED, None
            except VisionstackError as error:
                row.fail(error)
            self.changed(row.name)

    def _batch(self, waiting: list[Row]) -> None:
        self._note_deployed(Stack.STORAGE, Stack.COMPARISON)
        for row in waiting:
            row.status = Status.RUNNING
        names = [row.name for row in waiting]
        self.changed(f"deploying {', '.join(names)}")
        try:
            self.executors.fleets.deploy(names)
        except VisionstackError as error:
            for row in waiting:
                row.fail(error)
            self.changed("the fleets could not be deployed")
            return
        end = self.clock() + self.deadline_s
        seen = {row.name: self.clock() for row in waiting}
        while waiting and self.clock() < end:
            for row in list(waiting):
                try:
                    done = self._done(row)
                    seen[row.name] = self.clock()
                except TemporaryError as error:
                    done = self.clock() - seen[row.name] > _UNSEEN_S
                    if done:
                        row.fail(error)
                if done:
                    waiting.remove(row)
                    self.changed(row.name)
            if waiting:
                self.changed(f"waiting for {', '.join(row.name for row in waiting)}")
                self.sleep(_POLL_S)
        for row in waiting:
            row.status = Status.MEASURED if row.has_measurements else Status.FAILED
            row.reason = f"it had not finished after {self.deadline_s / 60:.0f} minutes"
            self.changed(f"{row.name}: its time is over")

    def _done(self, row: Row) -> bool:
        """Take what a type has written; True when no more will come.

        Raises:
            TemporaryError: it could not be seen this time.
            CredentialsError: nothing can be seen any more.
        """
        fleets = self.executors.fleets
        try:
            progress = fleets.look(row.name)
            if progress.result is None:
                if progress.refusal is None:
                    return False
                row.status, row.reason = Status.NOT_RUN, progress.refusal
                row.other_hardware = progress.other_hardware
                return True
            if not progress.result.finished:
                row.result = progress.result.to_json()
                return False
            self.record.take(row, progress.result)
            fleets.fetch_logs(row.name, self.folder / row.name / "loadgen")
        except (CredentialsError, TemporaryError):
            raise
        except (VisionstackError, MeasurementError) as error:
            row.fail(error)
        return True

    def _step(self, row: Row, what: str) -> None:
        self.changed(f"{row.name}: {what}")

    def _open(self, kind: Kind) -> list[Row]:
        return [row for row in self.record.rows if row.kind is kind and not row.status.final]

    def _note_deployed(self, *stacks: str) -> None:
        """Written down before the deploy: an interrupted one leaves something to destroy too."""
        names = [f"{self.record.prefix}-{stack}" for stack in stacks]
        self.record.deployed += [name for name in names if name not in self.record.deployed]
