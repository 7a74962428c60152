"""What one command knows of the embedded cloud that another started: folders, ports, pids."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from runtime.protocol import loopback
from visionstack import paths
from visionstack.errors import UsageError
from visionstack.files import replace_file
from visionstack.processes import ProcessId

DEFAULT_PORT: Final = 4566
REGION: Final = "us-east-1"
FOLDER_VARIABLE: Final = "VISIONSTACK_CLOUD_FOLDER"
"""Where the embedded cloud keeps its state and logs, instead of `.cloud`."""
PORT_VARIABLE: Final = "VISIONSTACK_CLOUD_PORT"
"""The port it listens on, instead of 4566."""
USERS_VARIABLE: Final = "VISIONSTACK_CLOUD_USERS"
"""`any` lets programs of other users of this machine in, who can then do all that its own can."""
MARK_VARIABLE: Final = "VISIONSTACK_CLOUD_MARK"
"""Set, to the state folder, in everything that `visionstack local up` starts."""


@dataclass(frozen=True)
class CloudFolder:
    """The folder of one embedded cloud; two with different folders and ports do not meet."""

    root: Path

    @classmethod
    def from_environment(cls) -> CloudFolder:
        return cls(Path(os.environ.get(FOLDER_VARIABLE) or paths.CLOUD).resolve())

    def make(self) -> None:
        """Make the folder, for its owner alone: it holds what Secrets Manager and S3 hold."""
        self.root.mkdir(parents=True, exist_ok=True)
        self.root.chmod(0o700)

    @property
    def state(self) -> Path:
        return self.root / "cloud.json"

    @property
    def lock(self) -> Path:
        return self.root / "lock"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def emulator(self) -> Path:
        """MiniStack's own state and S3 objects."""
        return self.root / "emulator"

    @property
    def instances(self) -> Path:
        """One folder an instance: its root, log and private PATH."""
        return self.root / "instances"

    @property
    def fleet(self) -> Path:
        """What the instance agent says about its instances and load balancers."""
        return self.root / "fleet.json"


@dataclass(frozen=True)
class CloudState:
    """One `visionstack local up`."""

    port: int
    emulator: ProcessId
    agent: ProcessId | None

    @property
    def endpoint(self) -> str:
        return endpoint_url(self.port)

    @classmethod
    def read(cls, folder: CloudFolder) -> CloudState | None:
        """What the last `up` wrote; None when there is nothing readable."""
        match read_json(folder.state):
            case {"port": int(port), "emulator": emulator, "agent": agent}:
                identity = ProcessId.from_json(emulator)
                if identity is None:
                    return None
                return cls(port, identity, ProcessId.from_json(agent))
            case _:
                return None

    def write(self, folder: CloudFolder) -> None:
        write_json(
            folder.state,
            {
                "port": self.port,
                "endpoint": self.endpoint,
                "emulator": self.emulator.to_json(),
                "agent": self.agent.to_json() if self.agent else None,
            },
        )


def running(folder: CloudFolder | None = None) -> CloudState | None:
    """The embedded cloud when its emulator process is alive, else None."""
    state = CloudState.read(folder or CloudFolder.from_environment())
    return state if state is not None and state.emulator.alive() else None


def crashed(folder: CloudFolder | None = None) -> bool:
    """Whether the embedded cloud ended without `local down`."""
    folder = folder or CloudFolder.from_environment()
    return CloudState.read(folder) is not None and running(folder) is None


def chosen_port(environment: Mapping[str, str] = os.environ) -> int:
    """The port by `VISIONSTACK_CLOUD_PORT`, else 4566; UsageError for what is no port."""
    text = environment.get(PORT_VARIABLE) or str(DEFAULT_PORT)
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise UsageError(f"{PORT_VARIABLE} is {text!r}, which is no port: give 1 to 65535.")
    return int(text)


def endpoint_url(port: int) -> str:
    return f"http://127.0.0.1:{port}"


def is_loopback(url: str) -> bool:
    """Whether `url` can only reach this machine."""
    return loopback.is_loopback(urlsplit(url).hostname or "")


def read_json(path: Path) -> Any:
    """The document at `path`; None when it is missing or damaged."""
    try:
        return json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return None


def write_json(path: Path, value: Any) -> None:
    """At once, and for the owner alone. Raises VisionstackError: it cannot be written."""
    replace_file(path, json.dumps(value, indent=2) + "\n", mode=0o600)
