"""A stream server on this machine, in a process of its own, for measuring beside it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from visionstack.errors import VisionstackError
from visionstack.paths import IMPORT_ROOT

_LINES_BEFORE_READY: Final = 50


@dataclass(frozen=True)
class Served:
    """Where a server streams, and its page with the token in the fragment."""

    host: str
    port: int
    token: str = field(repr=False)
    page: str = field(repr=False)
    fingerprint: str | None = None
    pid: int = 0


@contextmanager
def served(
    model: Path,
    *,
    engine: str = "auto",
    precision: str = "auto",
    host: str = "127.0.0.1",
    prefix: Sequence[str] = (),
    token: str | None = None,
) -> Iterator[Served]:
    """A stream server of this model on a free port, stopped at the end; beyond loopback with TLS.

    `prefix` begins its command, such as with what holds it to less than the machine. `token`: one
    that several servers share, as those of a group do.

    Raises:
        VisionstackError: it ended before it was ready.
    """
    name = model.parent.name
    command = [
        *prefix,
        *(sys.executable, "-m", "visionstack.cli", "serve", "--model", name),
        *("--port", "0", "--http-port", "0", "--host", host),
        *("--engine", engine, "--precision", precision),
        *(() if token is None else ("--token", token)),
    ]
    environment = {
        key: value for key, value in os.environ.items() if not key.startswith("VISIONSTACK_")
    }
    with subprocess.Popen(
        command,
        cwd=IMPORT_ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        try:
            said: dict[str, str] = {}
            for _, line in zip(range(_LINES_BEFORE_READY), process.stdout or (), strict=False):
                key, _, value = line.strip().partition(": ")
                said[key] = value
                if {"address", "token", "page"} <= said.keys():
                    break
            else:
                raise VisionstackError(f"The stream server of {name} did not start.")
            host, _, port = said["address"].rpartition(":")
            yield Served(
                host, int(port), said["token"], said["page"], said.get("fingerprint"), process.pid
            )
        finally:
            process.terminate()
            process.wait(timeout=30)
