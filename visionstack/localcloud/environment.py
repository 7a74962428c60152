"""The virtual environment that the emulator, its functions and the instances' `aws` run in."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from visionstack import paths
from visionstack.console import err
from visionstack.localcloud.errors import LocalCloudError
from visionstack.processes import one_at_a_time

REQUIREMENTS: Final = Path(__file__).parent / "requirements.lock"


def ensure(folder: Path = paths.CLOUD_VENV) -> Path:
    """Make the environment, or bring it to the pinned versions; returns its Python.

    It is recorded as good only when complete, so an interrupted installation is made again.
    LocalCloudError with pip's last lines when packages can't be had.
    """
    with one_at_a_time(folder.with_name(f"{folder.name}.lock")):
        return _ensured(folder)


def _ensured(folder: Path) -> Path:
    python = folder / "bin" / "python"
    record = folder / "installed.txt"
    wanted = f"{sys.version}\n{REQUIREMENTS.read_text()}"
    if python.exists() and record.exists() and record.read_text() == wanted:
        return python
    shutil.rmtree(folder, ignore_errors=True)
    with err.status("installing the embedded cloud (MiniStack) …"):
        _run([sys.executable, "-m", "venv", str(folder)])
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        locked = ["--no-deps", "--require-hashes", "--requirement", str(REQUIREMENTS)]
        _run([*pip, *locked])
    record.write_text(wanted)
    return python


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        told = "\n".join(f"  {line}" for line in done.stderr.splitlines()[-6:])
        raise LocalCloudError(
            f"The embedded cloud could not be installed:\n{told}",
            remedy="Is the Python package index reachable?",
        )
