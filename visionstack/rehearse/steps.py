"""A list of steps, and what came of each.

A step that needs one that did not pass is not run. Steps that are `always` run whatever happened
before, after Ctrl-C and SIGTERM too: they leave nothing behind.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from runtime.redaction import redacted
from visionstack.errors import VisionstackError


class Outcome(StrEnum):
    """What came of a step."""

    PASSED = "passed"
    NOT_EMBEDDED = "not on the embedded cloud"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    NOT_RUN = "not run"

    @property
    def good(self) -> bool:
        """Whether it says nothing against the deployment."""
        return self in {Outcome.PASSED, Outcome.NOT_EMBEDDED}


class NotEmbeddedError(VisionstackError):
    """What the step is about is not on the embedded cloud; everything up to there went well."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step. `run` returns what it saw, in a sentence, or raises VisionstackError."""

    name: str
    expected: str
    run: Callable[[], str]
    needs: Sequence[str] = ()
    """Names of steps that must have passed."""
    always: bool = False


@dataclass(frozen=True, kw_only=True)
class Result:
    """What came of one step; `told` is what it saw, or why it failed or was not run."""

    name: str
    expected: str
    outcome: Outcome
    seconds: float
    told: str


@dataclass
class Run:
    """The results so far, in the order of the steps; `ended_by` is what interrupted it."""

    results: list[Result] = field(default_factory=list)
    ended_by: BaseException | None = None

    @property
    def good(self) -> bool:
        """Whether no step failed, was interrupted or left out."""
        return self.ended_by is None and all(one.outcome.good for one in self.results)


def run_steps(
    steps: Sequence[Step],
    *,
    seconds: float,
    changed: Callable[[Run, str], None] = lambda _run, _next: None,
    clock: Callable[[], float] = time.monotonic,
) -> Run:
    """Run the steps one after the other; raises nothing of what they raise.

    Args:
        steps: What is to be done, in order; `needs` names earlier ones.
        seconds: After so many no step is begun but those that are `always`.
        changed: Called with the results so far and the next step's name, before each that is not
            `always`: whether a report can be written must not decide what is left standing.
        clock: In seconds.
    """
    run = Run()
    latest = clock() + seconds
    for step in steps:
        begun = clock()
        obstacle = _obstacle(step, run, late=begun >= latest)
        try:
            if obstacle is not None:
                outcome, told = Outcome.NOT_RUN, obstacle
            else:
                if not step.always:
                    changed(run, step.name)
                outcome, told = Outcome.PASSED, step.run()
        except NotEmbeddedError as error:
            outcome, told = Outcome.NOT_EMBEDDED, str(error)
        except VisionstackError as error:
            outcome, told = Outcome.FAILED, str(error)
        except Exception as error:
            # What was started must be destroyed all the same.
            outcome = Outcome.FAILED
            told = f"This is a fault of visionstack: {type(error).__name__}: {error}"
        except (KeyboardInterrupt, SystemExit) as stop:
            run.ended_by = run.ended_by or stop
            outcome, told = Outcome.INTERRUPTED, "It was interrupted."
        run.results.append(
            Result(
                name=step.name,
                expected=step.expected,
                outcome=outcome,
                seconds=clock() - begun,
                told=redacted(told),
            )
        )
    return run


def _obstacle(step: Step, run: Run, *, late: bool) -> str | None:
    if step.always:
        return None
    if run.ended_by is not None:
        return "The rehearsal was interrupted."
    outcomes = {one.name: one.outcome for one in run.results}
    missing = [name for name in step.needs if outcomes[name] is not Outcome.PASSED]
    if missing:
        return f"It needs what did not pass: {', '.join(missing)}."
    return "The rehearsal's time was over." if late else None
