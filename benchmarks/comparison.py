"""Four instance types, three functions and this machine, from plan to nothing left.

On the embedded cloud the instance types stand as not run: it has no such hardware. The functions
and this machine are measured.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

_TYPES = ("g4dn.xlarge", "g6.xlarge", "c7i.xlarge", "c7g.xlarge")
_FUNCTIONS = ("1769", "3008:x86_64:package:snapstart", "1769:x86_64:package:warmer")


def main(out: Path, quick: bool) -> None:
    """Writes `comparison/` with its JSON, its report and LoadGen's logs."""
    folder = out / "comparison"
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "visionstack.cli", "local", "up"], check=True)
    command = [
        *(sys.executable, "-m", "visionstack.cli", "compare", "run", "--cloud", "local"),
        *("--local", "--model", "efficientnet-lite0", "--out", str(folder)),
        *("--scenario", "single-stream", "--scenario", "offline", "--scenario", "camera:30"),
        *("--seconds", "1" if quick else "10"),
        *("--calls", "10" if quick else "60", "--cold-calls", "1" if quick else "5"),
    ]
    for name in _TYPES[2:3] if quick else _TYPES:
        command += ["--instance-type", name]
    for setting in _FUNCTIONS[:1] if quick else _FUNCTIONS:
        command += ["--lambda", setting]
    subprocess.run(command, check=True)
