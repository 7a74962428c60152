"""Programs held to some of this machine: processors and memory.

So a row of this machine can stand for a smaller one. What measures shares the processors with the
server; the memory is that of the programs, since a desk that is killed for it could tell nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from visionstack.compare.errors import NotRunError

_ROOT: Final = Path("/sys/fs/cgroup")


def lacks(processors: int, memory_mib: int | None = None) -> str | None:
    """Why nothing can be held to that here, as far as can be told without trying; else None."""
    has = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0
    if processors > has:
        return f"this machine has {has} processors, not {processors}"
    if memory_mib is not None and not os.access(_group_of_memory()[0], os.W_OK):
        return "control groups for memory cannot be used here; run it as root on Linux"
    return None


@contextmanager
def held(processors: int | None, memory_mib: int | None) -> Iterator[list[str]]:
    """The words to begin a command with, for the block; None holds nothing back.

    This process shares the processors with what it starts. Raises `NotRunError` where this machine
    has fewer, or no control groups for memory that can be written.
    """
    before = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
    if processors is not None and (lacking := lacks(processors)):
        raise NotRunError(f"not run: {lacking}")
    if processors is not None:
        os.sched_setaffinity(0, sorted(before)[:processors])
    try:
        if memory_mib is None:
            yield []
        else:
            with _memory(memory_mib) as group:
                yield ["sh", "-c", 'echo $$ > "$0" && exec "$@"', str(group / "cgroup.procs")]
    finally:
        if processors is not None:
            os.sched_setaffinity(0, before)


@contextmanager
def _memory(mib: int) -> Iterator[Path]:
    """An empty control group; its programs have ended when the block does."""
    above, limit = _group_of_memory()
    group = above / f"visionstack-{os.getpid()}"
    try:
        group.mkdir()
        (group / limit).write_text(str(mib * 2**20))
    except OSError as error:
        if group.is_dir():
            group.rmdir()
        raise NotRunError(
            f"not run: control groups for memory cannot be used here ({error.strerror}); run it as "
            "root on Linux"
        ) from error
    try:
        yield group
    finally:
        for pid in (group / "cgroup.procs").read_text().split():
            (above / "cgroup.procs").write_text(pid)
        group.rmdir()


def _group_of_memory() -> tuple[Path, str]:
    """(this process's group, the file of a group's limit) of version 1 or 2."""
    lines = Path("/proc/self/cgroup").read_text("utf-8").splitlines()
    paths = {names: path for _, names, path in (line.split(":", 2) for line in lines)}
    first = next((path for names, path in paths.items() if "memory" in names.split(",")), None)
    if first is not None:
        return _ROOT / "memory" / first.lstrip("/"), "memory.limit_in_bytes"
    # A group of version 2 that has processes can have no limited children: its siblings can.
    return (_ROOT / paths.get("", "/").lstrip("/")).parent, "memory.max"
