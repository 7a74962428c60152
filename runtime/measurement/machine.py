"""The machine a figure was measured on, and the versions it was measured with."""

from __future__ import annotations

import csv
import importlib.metadata
import io
import os
import platform
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

_TELLING_FEATURES: Final = (
    "avx2",
    "avx512f",
    "avx512_bf16",
    "amx_bf16",
    "amx_int8",
    "asimd",
    "sve",
)
_PACKAGES: Final = (
    "numpy",
    "onnxruntime",
    "openvino",
    "torch",
    "opencv-python-headless",
    "pillow",
    "mlcommons_loadgen",
)


@dataclass(frozen=True)
class Gpu:
    """One accelerator as its driver reports it."""

    name: str
    memory_mib: int
    driver: str


@dataclass(frozen=True)
class Machine:
    """What a reader needs to know about a computer to compare its figures with another's."""

    cpu: str
    cores: int
    """Cores this process may use."""
    memory_gib: float
    """0 where nobody knows."""
    architecture: str
    kernel: str
    system: str
    features: tuple[str, ...]
    """Vector and matrix instruction sets that inference engines choose kernels by."""
    gpus: tuple[Gpu, ...]

    @property
    def line(self) -> str:
        """The machine in one line."""
        gpu = ", ".join(card.name for card in self.gpus) or "no GPU"
        if not self.memory_gib:  # a browser tells neither
            return f"{self.cpu}, {self.cores} cores"
        return f"{self.cpu}, {self.cores} cores, {self.memory_gib:.0f} GiB, {gpu}"

    def to_json(self) -> dict[str, Any]:
        """Plain values, as written to result files."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Machine:
        """The inverse of `to_json`."""
        gpus = tuple(Gpu(**card) for card in value["gpus"])
        return cls(**{**value, "gpus": gpus, "features": tuple(value["features"])})


def describe(*, proc: Path = Path("/proc")) -> Machine:
    """Read this machine's description; what cannot be read is named "unknown", never guessed."""
    cpuinfo = _read(proc / "cpuinfo")
    flags = set(_field(cpuinfo, "flags", "Features").split())
    return Machine(
        cpu=_field(cpuinfo, "model name", "Model", "Processor")
        or platform.machine() + " (unknown)",
        cores=len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count() or 1,
        memory_gib=_memory_gib(_read(proc / "meminfo")),
        architecture=platform.machine(),
        kernel=f"{platform.system()} {platform.release()}",
        system=_system(),
        features=tuple(name for name in _TELLING_FEATURES if name in flags),
        gpus=_gpus(),
    )


def versions(packages: Sequence[str] = _PACKAGES) -> dict[str, str]:
    """Versions of Python and of those of `packages` that are installed here."""
    found = {"python": platform.python_version()}
    for name in packages:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _field(text: str, *names: str) -> str:
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key.strip() in names and value.strip():
            return value.strip()
    return ""


def _memory_gib(meminfo: str) -> float:
    amount = _field(meminfo, "MemTotal").split()
    return int(amount[0]) / 2**20 if amount else 0.0


def _system() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", platform.system())
    except OSError:
        return platform.system()


def _gpus() -> tuple[Gpu, ...]:
    program = shutil.which("nvidia-smi")
    if program is None:
        return ()
    try:
        answer = subprocess.run(
            [
                program,
                "--query-gpu=name,memory.total,driver_version",
                "--format=csv,noheader,nounits",
            ],
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return ()
    rows = csv.reader(io.StringIO(answer), skipinitialspace=True)
    return tuple(
        Gpu(name=row[0], memory_mib=int(float(row[1])), driver=row[2])
        for row in rows
        if len(row) == 3
    )
