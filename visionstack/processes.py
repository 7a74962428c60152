"""Processes that outlive the command that started them, and how they are recognised afterwards.

A pid alone is not an identity: after a reboot, or a few days, it may be somebody else's. A process
is therefore kept as pid and start time, and is only ever signalled when both still agree.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psutil

from visionstack import paths

START_TIME_TOLERANCE_S = 0.05
"""psutil computes the start time from jiffies and the boot time, which is good to a tick."""
_RELEASED: Final = b"released"
_PATIENCE_S: Final = 30.0
"""How long what is being started meanwhile is looked for."""


@dataclass(frozen=True)
class ProcessId:
    """A process that can be told from a later one with the same pid; `started` is Unix seconds."""

    pid: int
    started: float

    @classmethod
    def of(cls, pid: int) -> ProcessId:
        """Identity of a running process; psutil.NoSuchProcess when there is none."""
        return cls(pid, psutil.Process(pid).create_time())

    @classmethod
    def from_json(cls, value: Any) -> ProcessId | None:
        """From `to_json`'s form; None for anything else, as after a half-written file."""
        match value:
            case {"pid": int(pid), "started": float() | int() as started}:
                return cls(pid, float(started))
            case _:
                return None

    def to_json(self) -> dict[str, float | int]:
        return {"pid": self.pid, "started": self.started}

    def alive(self) -> bool:
        """Whether this very process still runs (a zombie or a reused pid does not count)."""
        return self._process() is not None

    def tree(self) -> list[psutil.Process]:
        """This process and its descendants, parents first; empty when it is gone."""
        process = self._process()
        if process is None:
            return []
        try:
            return [process, *process.children(recursive=True)]
        except psutil.NoSuchProcess:
            return [process]

    def _process(self) -> psutil.Process | None:
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.started) < START_TIME_TOLERANCE_S
            return process if same and process.status() != psutil.STATUS_ZOMBIE else None
        except psutil.NoSuchProcess:
            return None


def start_detached(
    command: Sequence[str],
    *,
    environment: Mapping[str, str],
    folder: Path,
    log: Path,
) -> ProcessId:
    """Start a process in a session of its own, its output appended to `log`.

    What it writes, and its log, are for this user alone.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    log.touch(mode=0o600)
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            env=dict(environment),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            umask=0o077,
        )
    return ProcessId.of(process.pid)


def stop(process: ProcessId, *, grace_s: float) -> None:
    """SIGTERM to the process alone, then SIGKILL to whatever of its tree is left after `grace_s`.

    Descendants are noted before the signal, since those of a dead parent can no longer be found.
    """
    tree = process.tree()
    if not tree:
        return
    noted = _identities(tree)
    _signal(noted[:1], kill=False)
    deadline = time.monotonic() + grace_s
    while time.monotonic() < deadline and noted[0].alive():
        noted = list(dict.fromkeys([*noted, *_identities(process.tree())]))
        _reap()
        time.sleep(0.05)
    kill(noted)


def kill(processes: Iterable[ProcessId]) -> None:
    """SIGKILL to those that are still there, and wait until they are gone."""
    noted = list(processes)
    _signal(noted, kill=True)
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline and any(one.alive() for one in noted):
        _reap()
        time.sleep(0.02)


def marked(name: str, value: str) -> list[ProcessId]:
    """Processes of this user whose environment has `name` set to `value`.

    Everything the embedded cloud starts inherits such a mark, so what a crash orphaned is found.
    """
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.environ().get(name) == value:
                found.append(ProcessId(process.pid, process.create_time()))
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess, OSError):
            continue
    return found


@contextmanager
def ended_with_this_process(name: str, value: str) -> Iterator[None]:
    """Inside, what is `marked` so ends with this process, however this process ends.

    A program of its own waits at a pipe whose other end this process holds: the kernel closes that
    end when this process dies, by SIGKILL too, on Linux and macOS. It then kills all that carries
    the mark. Who leaves normally ends what was started, or leaves it running on purpose.
    """
    with subprocess.Popen(
        [sys.executable, "-m", "visionstack.processes", name, value],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=paths.IMPORT_ROOT,
        # Neither the mark of an owner's owner nor a signal to its group may end the watcher too.
        env={},
        start_new_session=True,
    ) as watcher:
        assert watcher.stdin is not None  # noqa: S101  it is PIPE
        try:
            yield
        finally:
            with suppress(BrokenPipeError):
                watcher.stdin.write(_RELEASED)
                watcher.stdin.close()


@contextmanager
def one_at_a_time(lock: Path) -> Iterator[None]:
    """Of several processes, such as two `cdk` at once, one is inside and the others wait."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _kill_marked(name: str, value: str) -> None:
    """SIGKILL to every process with the mark, until two looks find none."""
    deadline = time.monotonic() + _PATIENCE_S
    quiet = 0
    while quiet < 2 and time.monotonic() < deadline:
        left = marked(name, value)
        kill(left)
        quiet = 0 if left else quiet + 1
        time.sleep(0.2)


def _identities(processes: Iterable[psutil.Process]) -> list[ProcessId]:
    found = []
    for process in processes:
        try:
            found.append(ProcessId(process.pid, process.create_time()))
        except psutil.NoSuchProcess:
            continue
    return found


def _signal(processes: Iterable[ProcessId], *, kill: bool) -> None:
    for one in processes:
        for process in one.tree()[:1]:
            try:
                if kill:
                    process.kill()
                else:
                    process.terminate()
            except psutil.NoSuchProcess:
                continue


def _reap() -> None:
    """Collect own children that ended, so that they do not stay as zombies."""
    for child in psutil.Process().children():
        if child.status() == psutil.STATUS_ZOMBIE:
            try:
                os.waitpid(child.pid, os.WNOHANG)
            except ChildProcessError:
                continue


if __name__ == "__main__":
    if sys.stdin.buffer.read() != _RELEASED:
        _kill_marked(*sys.argv[1:])
