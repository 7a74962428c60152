"""Read-only checks before a deploy: each says what would go wrong and what to do about it."""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final, NamedTuple

from visionstack import extras, paths

_OLDEST_PYTHON: Final = (3, 11)
_OLDEST_NODE: Final = 20
_NODE_END_OF_LIFE: Final = 22
"""Node 20 works and has reached its end of life; the CDK's command line warns about it."""
_DISK_GB: Final = 8
"""What the virtual environments, packages and models take, with room to build."""


class State(StrEnum):
    """How a check came out."""

    GOOD = "good"
    WARNING = "warning"
    BAD = "bad"
    UNKNOWN = "unknown"
    """It could not be looked at; the detail says why."""

    @property
    def symbol(self) -> str:
        """For the terminal."""
        return {"good": "✓", "warning": "!", "bad": "✗", "unknown": "?"}[self.value]


class Finding(NamedTuple):
    """How a question came out; who asks it knows the check's name and type."""

    state: State
    detail: str
    remedy: str | None = None


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    name: str
    state: State
    detail: str
    remedy: str | None = None
    instance_type: str | None = None
    """The type it is about, if it is about one."""

    def to_json(self) -> dict[str, str | None]:
        """Plain values."""
        return {**asdict(self), "state": self.state.value}


def worst(checks: Iterable[Check]) -> State:
    """Bad before warning before unknown before good."""
    order = [State.GOOD, State.UNKNOWN, State.WARNING, State.BAD]
    return max((check.state for check in checks), key=order.index, default=State.GOOD)


def check_this_machine(
    *,
    checkout: Path = paths.PROJECT or paths.IMPORT_ROOT,
    python: tuple[int, ...] = sys.version_info[:3],
    node: Callable[[], str | None] | None = None,
    free_bytes: Callable[[Path], int] | None = None,
) -> list[Check]:
    """Python, node, the libraries, the pinned CDK command line, and room on the disk."""
    return [
        Check("Python", *_python(python)),
        Check("Node.js", *_node((node or node_version)())),
        Check("libraries", *_libraries()),
        Check("CDK command line", *_cdk(checkout)),
        Check("disk", *_disk(checkout, (free_bytes or _free)(checkout))),
    ]


def node_version() -> str | None:
    """What `node --version` prints, or None where there is no node."""
    program = shutil.which("node")
    if program is None:
        return None
    try:
        return subprocess.run(
            [program, "--version"], capture_output=True, text=True, timeout=20, check=True
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def _free(folder: Path) -> int:
    return shutil.disk_usage(folder).free


def _python(version: tuple[int, ...]) -> Finding:
    text = ".".join(str(part) for part in version)
    if version[:2] < _OLDEST_PYTHON:
        remedy = "Install Python 3.11 or later and run `make PYTHON=python3.12 setup`."
        return Finding(State.BAD, f"{text} is too old", remedy)
    return Finding(State.GOOD, f"{text} on {platform.machine()}")


def _node(version: str | None) -> Finding:
    if version is None:
        return Finding(
            State.BAD,
            "there is none, and the CDK command line needs it",
            "Install Node.js 22 or later (Debian: apt-get install nodejs npm).",
        )
    match = re.match(r"v(\d+)\.", version)
    if match is None:
        detail = f"`node --version` printed {version!r}"
        return Finding(State.BAD, detail, "Install Node.js again.")
    major = int(match[1])
    if major < _OLDEST_NODE:
        return Finding(State.BAD, f"{version} is too old", "Install Node.js 22 or later.")
    if major < _NODE_END_OF_LIFE:
        detail = f"{version} works, and has reached its end of life"
        return Finding(State.WARNING, detail, "Install Node.js 22 or later when you can.")
    return Finding(State.GOOD, version)


def _libraries() -> Finding:
    missing = extras.missing()
    if not missing:
        return Finding(State.GOOD, "all are installed")
    # Without the others everything deploys.
    needed = [one for one in missing if extras.EXTRAS[one] in {"aws", "serve", "train"}]
    return Finding(
        State.BAD if needed else State.WARNING,
        f"not installed: {', '.join(needed or missing)}",
        f"Install them with: pip install '{extras.requirement('all')}'",
    )


def _cdk(checkout: Path) -> Finding:
    if (checkout / "node_modules" / ".bin" / "cdk").exists():
        return Finding(State.GOOD, "the pinned one is installed")
    detail = "the pinned one is not installed in this checkout"
    return Finding(State.BAD, detail, "Run `npm ci` (or `make setup`).")


def _disk(checkout: Path, free: int) -> Finding:
    gigabytes = free / 1e9
    if gigabytes < _DISK_GB:
        return Finding(
            State.BAD if gigabytes < _DISK_GB / 4 else State.WARNING,
            f"{gigabytes:.1f} GB are free at {checkout}",
            f"Free {_DISK_GB} GB for packages and models.",
        )
    return Finding(State.GOOD, f"{gigabytes:.0f} GB are free")
