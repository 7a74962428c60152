"""Processes are recognised by pid and start time, and only those are ever signalled."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from visionstack import processes
from visionstack.processes import ProcessId

SLEEPER = [sys.executable, "-c", "import time; time.sleep(60)"]
PARENT = [
    sys.executable,
    "-c",
    "import subprocess, sys, time\n"
    "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
    "print('ready', flush=True)\n"
    "time.sleep(60)",
]


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(SLEEPER) as process:
        yield process
        process.kill()


def test_a_running_process_is_known_by_its_identity(sleeper: subprocess.Popen[bytes]) -> None:
    assert ProcessId.of(sleeper.pid).alive()


def test_a_reused_pid_is_another_process(sleeper: subprocess.Popen[bytes]) -> None:
    earlier = ProcessId(sleeper.pid, ProcessId.of(sleeper.pid).started - 3600)

    assert not earlier.alive()
    processes.stop(earlier, grace_s=1)
    processes.kill([earlier])
    assert sleeper.poll() is None


def test_a_process_that_ended_but_was_not_reaped_is_not_alive() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        identity = ProcessId.of(process.pid)
        _until(lambda: not identity.alive())


def test_an_identity_survives_json() -> None:
    identity = ProcessId(12, 34.5)

    assert ProcessId.from_json(identity.to_json()) == identity


@pytest.mark.parametrize("damaged", [None, {}, {"pid": "12", "started": 1.0}, {"pid": 12}, []])
def test_a_damaged_identity_is_no_process(damaged: object) -> None:
    assert ProcessId.from_json(damaged) is None


def test_stop_takes_the_children_along(tmp_path: Path) -> None:
    log = tmp_path / "log"
    parent = processes.start_detached(
        PARENT, environment={"PATH": "/usr/bin:/bin"}, folder=tmp_path, log=log
    )
    _until(lambda: log.read_text().startswith("ready"))
    tree = [ProcessId(one.pid, one.create_time()) for one in parent.tree()]
    assert len(tree) == 2

    processes.stop(parent, grace_s=2)

    assert [one for one in tree if one.alive()] == []


def test_a_process_that_ignores_sigterm_is_killed_after_its_grace(tmp_path: Path) -> None:
    log = tmp_path / "log"
    stubborn = processes.start_detached(
        [
            sys.executable,
            "-c",
            "import signal, time\n"
            "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
            "print('ready', flush=True)\n"
            "time.sleep(60)",
        ],
        environment={"PATH": "/usr/bin:/bin"},
        folder=tmp_path,
        log=log,
    )
    _until(lambda: log.read_text().startswith("ready"))

    processes.stop(stubborn, grace_s=0.3)

    assert not stubborn.alive()


def test_what_inherited_the_mark_is_found(tmp_path: Path) -> None:
    mark = str(tmp_path)
    process = processes.start_detached(
        SLEEPER, environment={"THE_MARK": mark}, folder=tmp_path, log=tmp_path / "log"
    )
    try:
        _until(lambda: processes.marked("THE_MARK", mark) == [process])
        assert processes.marked("THE_MARK", f"{mark}/other") == []
    finally:
        processes.kill([process])


def _until(condition: object) -> None:
    assert callable(condition)
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
