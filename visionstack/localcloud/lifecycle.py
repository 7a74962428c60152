"""`visionstack local up`, `down` and `status`: one embedded cloud a state folder."""

from __future__ import annotations

import fcntl
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal

from visionstack import paths, processes
from visionstack.cloud import local_state as state
from visionstack.cloud.local_fleet import Fleet
from visionstack.cloud.local_state import CloudFolder, CloudState
from visionstack.localcloud import emulator, environment
from visionstack.localcloud.errors import LocalCloudError
from visionstack.processes import ProcessId

LOCK_TIMEOUT_S: Final = 180
AGENT_GRACE_S: Final = 30
"""The agent drains its instances first."""


@dataclass(frozen=True)
class Status:
    """What `visionstack local status` tells."""

    cloud: Literal["up", "down", "damaged"]
    folder: CloudFolder
    state: CloudState | None
    fleet: Fleet
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        up = self.state if self.cloud != "down" else None
        return {
            "cloud": self.cloud,
            "endpoint": up.endpoint if up else None,
            "port": up.port if up else None,
            "emulator_pid": up.emulator.pid if up else None,
            "agent_pid": up.agent.pid if up and up.agent else None,
            "folder": str(self.folder.root),
            "note": self.note,
            **asdict(self.fleet),
        }


def up(*, port: int | None = None, folder: CloudFolder | None = None) -> tuple[CloudState, bool]:
    """Start the embedded cloud, or find it up; the bool says whether this call started it.

    Concurrent calls wait for the first. PortTakenError when a foreign program has the port;
    LocalCloudError when it is up on another port than the one asked for, or does not start.
    """
    folder = folder or CloudFolder.from_environment()
    with _lock(folder):
        current = state.running(folder)
        if current is not None and emulator.health(current.port) is not None:
            if port is not None and port != current.port:
                raise LocalCloudError(
                    f"The embedded cloud is already up, on port {current.port}.",
                    remedy="Run `visionstack local down` first, or use that one.",
                )
            if current.agent is None or not current.agent.alive():
                agent = _start_agent(folder, current, python=environment.ensure())
                current = CloudState(current.port, current.emulator, agent)
                current.write(folder)
            return current, False
        _stop_everything(folder)
        wanted = port or state.chosen_port()
        python = environment.ensure()
        process = emulator.start(folder, python=python, port=wanted)
        fresh = CloudState(wanted, process, None)
        # Written at once: what is started must be found even if the next step fails.
        fresh.write(folder)
        fresh = CloudState(wanted, process, _start_agent(folder, fresh, python=python))
        fresh.write(folder)
        return fresh, True


def down(*, wipe: bool = False, folder: CloudFolder | None = None) -> bool:
    """Stop all that `up` started, and what that started; with `wipe` forget what was deployed.

    Returns whether there was anything to stop.
    """
    folder = folder or CloudFolder.from_environment()
    if not folder.root.exists():
        return False
    with _lock(folder):
        stopped = _stop_everything(folder)
        if wipe:
            for place in (folder.emulator, folder.instances, folder.logs, folder.root / "cdk.out"):
                shutil.rmtree(place, ignore_errors=True)
    return stopped


def status(folder: CloudFolder | None = None) -> Status:
    """What is up, without changing it."""
    folder = folder or CloudFolder.from_environment()
    known = CloudState.read(folder)
    if known is None:
        return Status("down", folder, None, Fleet())
    if not known.emulator.alive():
        note = (
            "It ended without `visionstack local down`, so what was deployed since its start is "
            "lost; `visionstack local deploy` deploys it again."
        )
        return Status("down", folder, known, Fleet(), note)
    fleet = Fleet.read(folder)
    if emulator.health(known.port) is None:
        return Status("damaged", folder, known, fleet, "MiniStack runs but does not answer.")
    if known.agent is None or not known.agent.alive():
        note = "The instance agent is not running; `visionstack local up` starts it again."
        return Status("damaged", folder, known, fleet, note)
    return Status("up", folder, known, fleet)


def _start_agent(folder: CloudFolder, current: CloudState, *, python: Path) -> ProcessId:
    return processes.start_detached(
        [sys.executable, "-m", "visionstack.localcloud.agent", str(folder.root), str(python)],
        environment={
            **emulator.environment(folder, port=current.port),
            "PYTHONUNBUFFERED": "1",
            state.FOLDER_VARIABLE: str(folder.root),
        },
        folder=paths.IMPORT_ROOT,
        log=folder.logs / "agent.log",
    )


def _stop_everything(folder: CloudFolder) -> bool:
    """Agent first, so that no instance is started while the rest goes; then whatever is left."""
    known = CloudState.read(folder)
    found = False
    if known is not None:
        for process, grace in (
            (known.agent, AGENT_GRACE_S),
            (known.emulator, emulator.STOP_GRACE_S),
        ):
            if process is not None and process.alive():
                found = True
                processes.stop(process, grace_s=grace)
    left = processes.marked(state.MARK_VARIABLE, str(folder.root))
    processes.kill(left)
    folder.state.unlink(missing_ok=True)
    folder.fleet.unlink(missing_ok=True)
    shutil.rmtree(folder.root / "tmp", ignore_errors=True)
    return found or bool(left)


@contextmanager
def _lock(folder: CloudFolder) -> Iterator[None]:
    folder.make()
    deadline = time.monotonic() + LOCK_TIMEOUT_S
    with folder.lock.open("w") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise LocalCloudError(
                        f"Another `visionstack local` command has held {folder.lock} for "
                        f"{LOCK_TIMEOUT_S} s.",
                        remedy="See what it is doing, or end it, and try again.",
                    ) from None
                time.sleep(0.2)
        yield
