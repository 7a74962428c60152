"""One instance: its user data run in a private folder, watched, booted again, drained."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from runtime.backoff import doubled
from runtime.contract import Env, Tls
from visionstack.cloud.local_fleet import Instance, InstanceState
from visionstack.cloud.local_state import CloudFolder, read_json, write_json
from visionstack.localcloud import aws, emulator
from visionstack.localcloud.agent import health
from visionstack.localcloud.agent.groups import Template
from visionstack.processes import ProcessId, kill

RESTART_PAUSE_S: Final = 2.0
LONGEST_PAUSE_S: Final = 5.0
"""Short: most often it waits for a model that is about to be published."""
DRAIN_MARGIN_S: Final = 15.0
"""As in the unit file: systemd waits this much longer than the server may drain."""
TOLD_LINES: Final = 4


@dataclass(frozen=True)
class Surroundings:
    """What every instance of this cloud gets."""

    folder: CloudFolder
    environment: dict[str, str]
    """Points at the embedded cloud and at nothing else."""
    cloud_python: Path


class LocalInstance:
    """A process that was started the way EC2 starts an instance.

    `step()` is to be called again and again; it never waits for the instance.
    """

    def __init__(
        self, instance_id: str, *, group: str, template: Template, surroundings: Surroundings
    ) -> None:
        self.id = instance_id
        self.group = group
        self.template = template
        self._around = surroundings
        self._home = surroundings.folder.instances / instance_id
        self._log = surroundings.folder.logs / f"{instance_id}.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._state = InstanceState.BOOTING
        self._since = time.time()
        self._reason = ""
        self._boots = 0
        self._failures = 0
        self._retry_at = 0.0
        self._drain_until = 0.0
        self._ports = (0, 0)

    @property
    def state(self) -> InstanceState:
        return self._state

    @property
    def stream_port(self) -> int:
        return self._ports[0]

    @property
    def http_port(self) -> int:
        return self._ports[1]

    @property
    def user_data_hash(self) -> str:
        return hashlib.sha256(self.template.user_data.encode()).hexdigest()

    def describe(self) -> Instance:
        return Instance(
            id=self.id,
            group=self.group,
            instance_type=self.template.instance_type,
            state=self._state,
            stream_port=self.stream_port,
            http_port=self.http_port,
            log=str(self._log),
            boots=self._boots,
            since=self._since,
            reason=self._reason,
        )

    def boot(self) -> None:
        """Run the user data; or, after its first boot, only the start step, as a reboot would."""
        root = self._home / "root"
        known = read_json(self._home / "instance.json")
        rebooted = (
            isinstance(known, dict)
            and known.get("user_data") == self.user_data_hash
            and (root / "installed").exists()
            and all(_free(port) for port in known["ports"])
        )
        if rebooted:
            self._ports = (known["ports"][0], known["ports"][1])
            command = ["bash", str(root / "bin" / "start.sh")]
        else:
            shutil.rmtree(self._home, ignore_errors=True)
            self._lay_out()
            self._ports = _free_ports()
            command = ["bash", str(self._home / "user-data.sh")]
        write_json(
            self._home / "instance.json",
            {"user_data": self.user_data_hash, "ports": list(self._ports)},
        )
        self._boots += 1
        # Why the last boot failed stays told until one succeeds.
        self._become(InstanceState.BOOTING, self._reason)
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("ab") as log:
            log.write(f"--- boot {self._boots} of {self.id}: {shlex.join(command)}\n".encode())
            log.flush()
            self._process = subprocess.Popen(
                command,
                env=self._environment(root),
                cwd=self._home,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    async def step(self) -> None:
        """Look at the process and its health, and boot it again when it has ended."""
        if self._state is InstanceState.FAILED:
            if time.monotonic() >= self._retry_at:
                self.boot()
            return
        if self._process is None or self._state is InstanceState.DRAINING:
            return
        code = self._process.poll()
        if code is not None:
            self._fail(code)
            return
        if await health.ready(self.http_port, tls=self._tls()):
            if self._state is not InstanceState.HEALTHY:
                self._failures = 0
                self._become(InstanceState.HEALTHY)
        elif self._state is InstanceState.HEALTHY:
            self._become(InstanceState.UNHEALTHY, "its health check fails")

    def drain(self) -> None:
        """SIGTERM, as on scale-in: the server says goaway and may finish what it has."""
        if self._state is InstanceState.DRAINING:
            return
        seconds = float(self._setting(Env.STREAM_DRAIN_SECONDS) or 0)
        self._drain_until = time.monotonic() + seconds + DRAIN_MARGIN_S
        self._become(InstanceState.DRAINING)
        if self._process is not None and self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGTERM)

    def drained(self) -> bool:
        """Whether it has ended; past its deadline it is killed first."""
        if self._process is None or self._process.poll() is not None:
            self._kill_session()
            return True
        if time.monotonic() < self._drain_until:
            return False
        self._kill_session()
        return True

    def forget(self) -> None:
        """Remove its folder, as a terminated instance's disk is; its log stays."""
        shutil.rmtree(self._home, ignore_errors=True)

    def kill(self) -> None:
        """End it at once."""
        self._kill_session()

    def _fail(self, code: int) -> None:
        pause = doubled(self._failures, first=RESTART_PAUSE_S, longest=LONGEST_PAUSE_S)
        self._failures += 1
        self._retry_at = time.monotonic() + pause
        self._kill_session()
        ended = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
        lines = " | ".join(emulator.tail(self._log, lines=TOLD_LINES))
        self._become(InstanceState.FAILED, f"ended with {ended}: {lines}")

    def _become(self, state: InstanceState, reason: str = "") -> None:
        self._state, self._reason, self._since = state, reason, time.time()

    def _kill_session(self) -> None:
        """Kill what is left of the process's session, its own children included."""
        if self._process is None:
            return
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                kill([one for one in [ProcessId.of(self._process.pid)] if one.alive()])
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _tls(self) -> bool:
        return self._setting(Env.STREAM_TLS) == Tls.SELF_SIGNED

    def _setting(self, name: str) -> str | None:
        """A variable of the instance's own stream.env; None before that is written."""
        try:
            lines = (self._home / "root" / "stream.env").read_text().splitlines()
        except FileNotFoundError:
            return None
        found = [line.partition("=")[2] for line in lines if line.startswith(f"{name}=")]
        return found[0] if found else None

    def _lay_out(self) -> None:
        for name in ("root", "bin", "tmp"):
            (self._home / name).mkdir(parents=True)
        (self._home / "user-data.sh").write_text(self.template.user_data)
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        # The interpreter below the checkout's own environment: an instance has no such packages.
        base = str(Path(getattr(sys, "_base_executable", sys.executable)).resolve())
        for name, command in (
            ("aws", [str(self._around.cloud_python), str(Path(aws.__file__).resolve())]),
            ("python3", [base]),
            (version, [base]),
        ):
            place = self._home / "bin" / name
            place.write_text(f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n')
            place.chmod(0o755)

    def _environment(self, root: Path) -> dict[str, str]:
        return {
            **self._around.environment,
            "PATH": os.pathsep.join(
                [str(self._home / "bin"), "/usr/local/bin", "/usr/bin", "/bin"]
            ),
            "HOME": str(self._home),
            "TMPDIR": str(self._home / "tmp"),
            "PYTHONUNBUFFERED": "1",
            Env.ROOT: str(root),
            Env.STREAM_HOST: "127.0.0.1",
            Env.STREAM_PORT: str(self.stream_port),
            Env.STREAM_HTTP_PORT: str(self.http_port),
        }


def _free_ports() -> tuple[int, int]:
    with socket.socket() as first, socket.socket() as second:
        first.bind(("127.0.0.1", 0))
        second.bind(("127.0.0.1", 0))
        return first.getsockname()[1], second.getsockname()[1]


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
