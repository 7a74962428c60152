"""The server process of a long run: its disk, its clock, and what it takes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from benchmarks._flatness import Trend, trend
from visionstack.paths import BUILD, IMPORT_ROOT

SPEED: Final = 16
"""Eight hours in thirty minutes."""
_WARM_UP: Final = 0.25
"""Of the whole time; the allocator and the caches have what they need by then."""
_DISK_MIB: Final = 8
_LOG_BYTES: Final = 256 * 1024
"""Above it the log is emptied, as journald and logrotate do."""
_LIBRARY: Final = "libfaketimeMT.so.1"
_ALLOWED_MEMORY: Final = 0.03
"""Growth of resident memory over the measured time, as a share of its mean."""


class LongRunError(Exception):
    """Something grew, a frame was lost, or the server did not do what it should."""


@dataclass
class Samples:
    """One row a sample."""

    times: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)
    descriptors: list[float] = field(default_factory=list)
    threads: list[float] = field(default_factory=list)
    disk: list[float] = field(default_factory=list)

    def trends(self) -> dict[str, Trend]:
        first = int(len(self.times) * _WARM_UP)
        times = self.times[first:]
        mean_memory = sum(self.memory[first:]) / len(times)
        mean_disk = sum(self.disk[first:]) / len(times)
        allowed = {
            "memory": _ALLOWED_MEMORY * mean_memory,
            # Less than one visitor more, a thread or two of asyncio's own six (it makes them when
            # they are wanted at once, and keeps them), less than one model.
            "descriptors": 2.0,
            "threads": 2.0,
            "disk": mean_disk / 2,
        }
        return {
            name: trend(times, getattr(self, name)[first:], allowed=most)
            for name, most in allowed.items()
        }


class Target:
    """The server process, its disk and its clock."""

    def __init__(self, folder: Path, clock: Path | None) -> None:
        self.disk = folder / "disk"
        self.objects = folder / "objects"
        self.disk.mkdir()
        self._clock = clock
        self._clock_file = folder / "clock"
        self.process: asyncio.subprocess.Process | None = None
        self.port = self.http_port = 0
        self.log_bytes = 0

    @property
    def has_clock(self) -> bool:
        """Whether its wall clock can be moved."""
        return self._clock is not None

    async def start(self, *, leak: int) -> None:
        preload = ""
        if self._clock is not None:
            self.set_clock(0)
            preload = (
                f"LD_PRELOAD={self._clock} FAKETIME_TIMESTAMP_FILE={self._clock_file}"
                " FAKETIME_NO_CACHE=1 DONT_FAKE_MONOTONIC=1"
            )
        command = (
            f"mount -t tmpfs -o size={_DISK_MIB}m tmpfs {self.disk} && exec env {preload}"
            f" {sys.executable} -m benchmarks._long_server --objects {self.objects}"
            f" --disk {self.disk} --speed {SPEED} --leak {leak} 2>>{self.disk}/server.log"
        )
        self.process = process = await asyncio.create_subprocess_exec(
            *("unshare", "--mount", "sh", "-c", command),
            cwd=IMPORT_ROOT,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        line = await process.stdout.readline() if process.stdout else b""
        if not line:
            raise LongRunError("the server did not start; a mount namespace needs root")
        self.port, self.http_port = map(int, line.split())

    async def end(self) -> int:
        """The exit status after a drain."""
        process = self.process
        if process is None or process.stdin is None:
            return 0
        process.stdin.close()
        try:
            return await asyncio.wait_for(process.wait(), 60)
        except TimeoutError:
            process.kill()
            raise LongRunError("the server did not end in a minute") from None

    @property
    def inside(self) -> Path:
        """Its disk, which only the server's namespace has, as seen from here."""
        return Path(f"/proc/{self._pid}/root{self.disk}")

    @property
    def _pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    async def clock_ahead(self) -> float:
        """Seconds by which its wall clock was ahead of ours at the last time that it told."""
        assert self.process is not None
        assert self.process.stdout is not None
        line = await self.process.stdout.readline()
        return float(line) - time.time()

    def set_clock(self, seconds: int) -> None:
        aside = self._clock_file.with_suffix(".new")
        aside.write_text(f"{seconds:+d}\n")
        aside.replace(self._clock_file)

    def sample(self, into: Samples, now: float) -> None:
        status = Path(f"/proc/{self._pid}/status").read_text()
        into.times.append(now)
        into.memory.append(_number(r"VmRSS:\s+(\d+) kB", status) / 1024)
        into.threads.append(_number(r"Threads:\s+(\d+)", status))
        into.descriptors.append(len(list(Path(f"/proc/{self._pid}/fd").iterdir())))
        into.disk.append(_size(self.inside / "models") / 1024)
        log = self.inside / "server.log"
        # On a full disk the emptied log would be the room that is to be missing.
        if log.stat().st_size > _LOG_BYTES and not self._filler.exists():
            self.log_bytes += log.stat().st_size
            os.truncate(log, 0)

    def fill(self) -> None:
        """Until not a byte is left."""
        with self._filler.open("wb", buffering=0) as file:
            for piece in (b"\0" * 65_536, b"\0"):
                with contextlib.suppress(OSError):
                    while file.write(piece) == len(piece):
                        pass

    def empty(self) -> None:
        self._filler.unlink(missing_ok=True)

    @property
    def _filler(self) -> Path:
        return self.inside / "filler"


def _number(pattern: str, text: str) -> float:
    found = re.search(pattern, text)
    if found is None:
        raise LongRunError(f"there is no {pattern} in {text!r}")
    return float(found.group(1))


def _size(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        # What a pull that is under way has just renamed is counted the next time.
        with contextlib.suppress(FileNotFoundError):
            total += path.stat().st_size if path.is_file() else 0
    return total


def clock_library() -> Path | None:
    """Debian's libfaketime: installed, or its package unpacked into the build folder."""
    places = (Path("/usr/lib"), BUILD / "faketime")
    for place in places:
        for found in place.glob(f"**/faketime/{_LIBRARY}"):
            return found
    places[1].mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        for command in (
            ("apt-get", "download", "libfaketime"),
            ("sh", "-c", "dpkg-deb -x libfaketime_*.deb ."),
        ):
            subprocess.run(command, cwd=places[1], check=True, capture_output=True)
    return next(places[1].glob(f"**/faketime/{_LIBRARY}"), None)
