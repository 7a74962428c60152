from __future__ import annotations

import os
from pathlib import Path

import pytest

from runtime.classifier.environment import ExecutionEnvironment, room_for_a_picture


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_first_call_is_cold_when_its_caller_waited_for_the_initialisation() -> None:
    clock = Clock()
    environment = ExecutionEnvironment({}, started=100.0, clock=clock)
    clock.now = 101.5
    environment.initialised()
    assert environment.init_ms == 1500
    clock.now = 101.51
    assert environment.begin_call() is True
    assert environment.begin_call() is False


def test_an_environment_initialised_ahead_of_its_first_call_is_not_cold() -> None:
    clock = Clock()
    environment = ExecutionEnvironment({}, started=100.0, clock=clock)
    environment.initialised()
    clock.now = 130.0
    assert environment.begin_call() is False


@pytest.mark.parametrize("kind", ["provisioned-concurrency", "snap-start"])
def test_provisioned_and_restored_environments_are_not_cold(kind: str) -> None:
    variables = {"AWS_LAMBDA_INITIALIZATION_TYPE": kind}
    environment = ExecutionEnvironment(variables, started=100.0, clock=Clock())
    environment.initialised()
    assert environment.begin_call() is False


def test_two_environments_have_two_ids() -> None:
    made = [ExecutionEnvironment({}, started=0.0) for _ in range(2)]
    assert made[0].id != made[1].id


def test_a_picture_may_take_what_the_function_has_left(tmp_path: Path) -> None:
    statm, mib = tmp_path / "statm", 1024 * 1024
    statm.write_text(f"1 {300 * mib // os.sysconf('SC_PAGE_SIZE')} 1 1 0 1 0\n")
    assert room_for_a_picture(1024, statm=statm) == (1024 - 300 - 96) * mib
    assert room_for_a_picture(256, statm=statm) == 32 * mib, "a usual JPEG is read at an eighth"
