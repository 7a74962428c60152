"""Processes are known by pid and start time, only those are signalled; owners take theirs along."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from visionstack import paths, processes
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

# As the embedded cloud starts its parts: detached, each with a child in a session of its own.
OWNER = """
import sys
from pathlib import Path
from visionstack import processes
root = Path(sys.argv[1])
part = "import subprocess, sys, time\\nsubprocess.Popen([sys.executable, '-c', 'import time; time.sleep(300)'], start_new_session=True)\\ntime.sleep(300)"
with processes.ended_with_this_process("THE_MARK", str(root)):
    for number in range(2):
        processes.start_detached(
            [sys.executable, "-c", part], environment={"THE_MARK": str(root)},
            folder=root, log=root / f"{number}.log",
        )
    print("up", flush=True)
    sys.stdin.readline()
"""  # noqa: E501
A_TEST = """
import os, subprocess, sys
from pathlib import Path
def test_that_waits_for_a_command():
    code = "import os, sys, time; open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(300)"
    Path(__file__).with_name("worker").write_text(str(os.getpid()))
    subprocess.run([sys.executable, "-c", code, str(Path(__file__).with_name("command"))])
"""


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


@pytest.mark.parametrize("killed", [True, False], ids=["killed", "leaves"])
def test_what_an_owner_started_ends_with_it_when_it_is_killed(tmp_path: Path, killed: bool) -> None:
    def left() -> int:
        return len(processes.marked("THE_MARK", str(tmp_path)))

    with subprocess.Popen(
        [sys.executable, "-c", OWNER, str(tmp_path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=paths.IMPORT_ROOT, text=True,
    ) as owner:  # fmt: skip
        assert owner.stdout is not None
        try:
            assert owner.stdout.readline() == "up\n"
            _until(lambda: left() == 4)
            if killed:
                os.kill(owner.pid, signal.SIGKILL)
                _until(lambda: left() == 0, seconds=60)
            else:
                owner.communicate("\n", timeout=60)
                time.sleep(1)
                assert left() == 4
        finally:
            owner.kill()
            processes.kill(processes.marked("THE_MARK", str(tmp_path)))


def test_a_command_that_a_test_waits_for_ends_with_the_worker_when_that_is_killed(
    tmp_path: Path,
) -> None:
    (tmp_path / "test_it.py").write_text(A_TEST)
    pytest_ = [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-p", "no:cacheprovider"]
    few = ["--numprocesses", "1", "--max-worker-restart", "0", "--rootdir", str(tmp_path)]

    def known(name: str) -> ProcessId:
        _until(lambda: (tmp_path / name).exists() and (tmp_path / name).read_text() != "")
        return ProcessId.of(int((tmp_path / name).read_text()))

    with subprocess.Popen(
        [*pytest_, *few, str(tmp_path)], stdout=subprocess.DEVNULL, cwd=paths.IMPORT_ROOT
    ) as run:
        command, worker = known("command"), known("worker")
        try:
            assert worker.pid not in (run.pid, command.pid)
            os.kill(worker.pid, signal.SIGKILL)
            _until(lambda: not command.alive())
            assert run.wait(timeout=60) == 1
        finally:
            run.kill()
            processes.kill([command])


def _until(condition: Callable[[], bool], *, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
