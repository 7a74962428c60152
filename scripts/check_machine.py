"""Says, before anything is installed, what this machine lacks for `make demo` and `make test`."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path

MINIMUM_PYTHON = (3, 11)
MINIMUM_NODE = 20
MINIMUM_FREE_GB = 8
"""Measured: the two virtual environments, packages and models take 5 GB."""


def complaints() -> list[str]:
    """One sentence for each thing that is missing, with what to do about it."""
    found = []
    if sys.version_info < MINIMUM_PYTHON:
        found.append(
            f"Python {sys.version.split()[0]} is too old; visionstack needs "
            f"{MINIMUM_PYTHON[0]}.{MINIMUM_PYTHON[1]} or later. "
            "Name another one: make PYTHON=python3.12 …"
        )
    if importlib.util.find_spec("ensurepip") is None:
        found.append(
            "This Python cannot make virtual environments. Debian: apt-get install python3-venv"
        )
    node = shutil.which("node")
    if node is None:
        found.append(
            "node is not on PATH; the CDK command line needs it. Debian: apt-get install nodejs npm"
        )
    else:
        printed = subprocess.run([node, "--version"], capture_output=True, text=True, check=False)
        version = re.match(r"v(\d+)", printed.stdout)
        if version is None or int(version[1]) < MINIMUM_NODE:
            found.append(
                f"node {printed.stdout.strip() or '(unknown)'} is too old; "
                f"the CDK command line needs {MINIMUM_NODE} or later."
            )
    if shutil.which("npm") is None:
        found.append(
            "npm is not on PATH; it installs the CDK command line. Debian: apt-get install npm"
        )
    free = shutil.disk_usage(Path(__file__).parent).free / 1e9
    if free < MINIMUM_FREE_GB:
        found.append(f"{free:.1f} GB are free here; {MINIMUM_FREE_GB} GB are needed.")
    return found


def main() -> int:
    found = complaints()
    for sentence in found:
        sys.stderr.write(f"error: {sentence}\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
