"""The order of a rehearsal's steps, and that it leaves nothing however it ends."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from visionstack.errors import VisionstackError
from visionstack.rehearse.steps import NotEmbeddedError, Outcome, Run, Step, run_steps


class Steps:
    """Four steps that note when they run, of which one may raise."""

    def __init__(self, **raised: BaseException) -> None:
        self.ran: list[str] = []
        self.raised = raised

    def _action(self, name: str) -> Callable[[], str]:
        def act() -> str:
            self.ran.append(name)
            if name in self.raised:
                raise self.raised[name]
            return f"{name} was seen"

        return act

    def run(self, *, seconds: float = 60, clock: Callable[[], float] = lambda: 0.0) -> Run:
        def step(name: str, *needs: str, always: bool = False) -> Step:
            return Step(
                name=name,
                expected=f"{name} works",
                run=self._action(name),
                needs=needs,
                always=always,
            )

        return run_steps(
            [
                step("compare"),
                step("deploy"),
                step("stream", "deploy"),
                step("destroy", always=True),
                step("left", always=True),
            ],
            seconds=seconds,
            clock=clock,
        )


def outcomes(run: Run) -> dict[str, str]:
    return {one.name: one.outcome.value for one in run.results}


ALL = ["compare", "deploy", "stream", "destroy", "left"]


def test_steps_run_in_their_order_and_say_what_they_saw() -> None:
    steps = Steps()
    run = steps.run()

    assert steps.ran == ALL
    assert set(outcomes(run).values()) == {"passed"}
    assert run.results[2].told == "stream was seen"
    assert run.good


def test_what_needs_a_failed_step_is_not_run_and_the_rest_is() -> None:
    steps = Steps(deploy=VisionstackError("No capacity.", remedy="Try another type."))
    run = steps.run()

    assert steps.ran == ["compare", "deploy", "destroy", "left"]
    failed, left_out = run.results[1], run.results[2]
    assert (failed.outcome, failed.told) == (Outcome.FAILED, "No capacity. Try another type.")
    assert left_out.outcome is Outcome.NOT_RUN
    assert "deploy" in left_out.told
    assert not run.good


def test_a_fault_of_this_program_does_not_leave_anything_standing() -> None:
    steps = Steps(stream=ZeroDivisionError("oh"), destroy=RuntimeError("no"))
    run = steps.run()

    assert steps.ran == ALL
    assert outcomes(run)["stream"] == outcomes(run)["destroy"] == "failed"
    assert "ZeroDivisionError" in run.results[2].told


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), SystemExit(143)])
def test_an_interrupted_rehearsal_destroys_and_looks(stop: BaseException) -> None:
    steps = Steps(deploy=stop)
    run = steps.run()

    assert steps.ran == ["compare", "deploy", "destroy", "left"]
    assert outcomes(run) == {
        "compare": "passed",
        "deploy": "interrupted",
        "stream": "not run",
        "destroy": "passed",
        "left": "passed",
    }
    assert run.ended_by is stop
    assert not run.good


def test_a_second_interruption_still_looks_at_what_is_left() -> None:
    first = KeyboardInterrupt()
    steps = Steps(compare=first, destroy=KeyboardInterrupt())
    run = steps.run()

    assert steps.ran == ["compare", "destroy", "left"]
    assert run.ended_by is first


def test_what_the_embedded_cloud_has_not_got_is_named_and_neither_passed_nor_failed() -> None:
    run = Steps(compare=NotEmbeddedError("c7i.large: no such machine.")).run()

    assert outcomes(run)["compare"] == "not on the embedded cloud"
    assert outcomes(run)["deploy"] == "passed"
    assert run.good


def test_no_step_begins_after_its_time_but_those_that_destroy() -> None:
    now = iter(range(0, 1000, 10))
    steps = Steps()
    run = steps.run(seconds=35, clock=lambda: next(now))

    assert steps.ran == ["compare", "deploy", "destroy", "left"]
    assert "time was over" in run.results[2].told


def test_a_secret_in_an_error_is_not_in_the_result() -> None:
    run = Steps(deploy=RuntimeError("token=hunter2 refused")).run()

    assert "hunter2" not in run.results[1].told
