"""Starting a server for a measurement, finding out that it answers, and ending all of it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from benchmarks._load import Body
from benchmarks._peers.environments import Peer, PeerUnavailableError
from benchmarks._peers.pipeline import CONFIGURATION, Configuration
from runtime.inference.engines.processor import usable_processors
from visionstack.localcloud.emulator import listening
from visionstack.paths import IMPORT_ROOT
from visionstack.processes import ProcessId, stop
from visionstack.server_process import served

TOKEN = "of-this-machine-for-the-time-of-a-measurement"  # noqa: S105 - guards nothing
_START_SECONDS, _STOP_SECONDS = 120, 20


@dataclass(frozen=True, kw_only=True)
class Contender:
    """A server in one of the ways it can be set up."""

    name: str
    setup: str
    """What is told about the way, in a few words."""
    peer: Peer | None
    """None: this project's streaming server."""
    command: tuple[str, ...] = ()
    """After the interpreter; `{port}` is replaced."""
    workers: int = 1
    threads: int = field(default_factory=usable_processors)
    batch: int = 1
    path: str = "/"
    body: Body = "picture"
    in_flight: int = 1

    @property
    def label(self) -> str:
        return f"{self.name}, {self.setup}"

    @property
    def streams(self) -> bool:
        return self.peer is None


@contextmanager
def serving(contender: Contender, model: Path, *, install: bool, log: Path) -> Iterator[int]:
    """Run the server; gives its port once it listens. Raises PeerUnavailableError."""
    if contender.peer is None:
        with served(model, engine="openvino", token=TOKEN) as own:
            yield own.port
        return
    python = contender.peer.python(install=install)
    port = free_port()
    configuration = Configuration(
        model=str(model),
        port=port,
        workers=contender.workers,
        threads=contender.threads,
        batch=contender.batch,
    )
    environment = {
        "PYTHONPATH": str(IMPORT_ROOT),
        "PATH": f"{python.parent}{os.pathsep}{os.environ.get('PATH', '')}",
        "RAY_USAGE_STATS_ENABLED": "0",
        "BENTOML_DO_NOT_TRACK": "True",
        "BENTOML_HOME": str(log.parent / "bentoml"),
        "LITSERVE_LOG_LEVEL": "WARNING",
    }
    command = [str(python), *(part.replace("{port}", str(port)) for part in contender.command)]

    with running(
        command,
        configuration,
        log=log,
        listens=lambda: listening(port),
        environment=environment,
    ):
        yield port


@contextmanager
def running(
    command: Sequence[str],
    configuration: Configuration,
    *,
    log: Path,
    listens: Callable[[], bool],
    environment: Mapping[str, str] | None = None,
) -> Iterator[None]:
    """A server process from when it listens on. Raises PeerUnavailableError."""
    given = {CONFIGURATION: json.dumps(asdict(configuration)), **(environment or {})}
    with log.open("w") as output:
        process = subprocess.Popen(
            command,
            cwd=IMPORT_ROOT,
            env={**os.environ, **given},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    started = ProcessId.of(process.pid)
    try:
        deadline = time.monotonic() + _START_SECONDS
        while not listens():
            if process.poll() is not None:
                raise PeerUnavailableError(f"ended with {process.returncode}: {_last_line(log)}")
            if time.monotonic() > deadline:
                raise PeerUnavailableError(
                    f"did not listen within {_START_SECONDS} s: {_last_line(log)}"
                )
            time.sleep(0.2)
        yield
    finally:
        stop(started, grace_s=_STOP_SECONDS)
        process.wait()


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1][:300] if lines else "it said nothing"


def free_port() -> int:
    """Of loopback."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
