"""The processor share that Lambda gives to a memory size, for environments of the embedded cloud.

The emulator gives every memory size the whole machine. A control group with a quota gives what AWS
would: one processor for each 1,769 MB, in periods of 20 ms
(https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, Self

from runtime.contract import MEMORY_MB_PER_VCPU
from visionstack.errors import VisionstackError

_PERIOD_US: Final = 20_000
_ROOT: Final = Path("/sys/fs/cgroup")


class CpuShare:
    """A control group (version 1 or 2); its processes go back to where they were at the end."""

    def __init__(
        self, name: str, *, root: Path = _ROOT, remove: Callable[[Path], None] = Path.rmdir
    ) -> None:
        """Make the group.

        Raises:
            VisionstackError: this machine has no control groups for processors, or they cannot be
                written.
        """
        self._first_version = (root / "cpu" / "cpu.cfs_quota_us").exists() or not (
            root / "cgroup.controllers"
        ).exists()
        self._above = root / "cpu" if self._first_version else root
        self._group = self._above / name
        self._remove = remove
        try:
            if not self._first_version:
                (root / "cgroup.subtree_control").write_text("+cpu")
            self._group.mkdir()
        except OSError as error:
            raise VisionstackError(
                f"Control groups for processors cannot be used here: {error}.",
                remedy="Run it as root on Linux, or with --cloud aws.",
            ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for pid in self.members():
            _put(self._above, pid)
        self._remove(self._group)

    def give(self, memory_mib: int, *, to: Iterable[int]) -> None:
        """Hold the processes `to` (by pid) to what a function of `memory_mib` gets."""
        quota = round(_PERIOD_US * memory_mib / MEMORY_MB_PER_VCPU)
        if self._first_version:
            (self._group / "cpu.cfs_period_us").write_text(str(_PERIOD_US))
            (self._group / "cpu.cfs_quota_us").write_text(str(quota))
        else:
            (self._group / "cpu.max").write_text(f"{quota} {_PERIOD_US}")
        for pid in to:
            _put(self._group, pid)

    def members(self) -> set[int]:
        """Pids of the processes in it."""
        return set(map(int, (self._group / "cgroup.procs").read_text().split()))


def environments_of(function: str, *, port: int) -> set[int]:
    """Pids of a function's environments, each a process of the emulator on `port`."""
    wanted = {f"AWS_LAMBDA_FUNCTION_NAME={function}".encode(), f"GATEWAY_PORT={port}".encode()}
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if wanted <= set((process / "environ").read_bytes().split(b"\0")):
                found.add(int(process.name))
    return found - {os.getpid()}


def _put(group: Path, pid: int) -> None:
    # A process that ended meanwhile needs no place.
    with contextlib.suppress(ProcessLookupError):
        (group / "cgroup.procs").write_text(str(pid))
