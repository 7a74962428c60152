"""Writes the lock files: every package with its exact version and the SHA-256 of all its files.

    uv on PATH (pip install uv), then: python scripts/lock_requirements.py [WHEEL …]

One resolution for Python 3.11 and later and every platform (`uv pip compile --universal`).
torch's CUDA packages have a file of their own, for a CPU build of torch must not bring them. Wheels
named as arguments (torch's CPU build from PyTorch's own index) are allowed beside PyPI's.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
CLOUD: Final = ROOT / "visionstack" / "localcloud"
LOCK: Final = ROOT / "requirements.lock"
CUDA_LOCK: Final = ROOT / "requirements-cuda.lock"
CLOUD_LOCK: Final = CLOUD / "requirements.lock"
TOOLS_LOCK: Final = ROOT / "scripts" / "sbom.lock"
_CUDA: Final = re.compile(r"(?:cuda-|triton|nvidia-(?!ml-py))")
_HEAD: Final = "# Written by scripts/lock_requirements.py from {source}.\n"


def entries(text: str) -> dict[str, str]:
    """A lock file's requirements by name, each with its hashes."""
    found = re.findall(r"^[A-Za-z0-9].*?(?=^[A-Za-z0-9]|\Z)", text, re.MULTILINE | re.DOTALL)
    return {re.split(r"[=\[ ]", entry, maxsplit=1)[0].lower(): entry for entry in found}


def resolve(*arguments: str) -> dict[str, str]:
    command = ["uv", "pip", "compile", "--universal", "--python-version", "3.11", "--quiet"]
    options = ["--generate-hashes", "--no-header", "--no-annotate", "--no-emit-index-url"]
    done = subprocess.run(
        [*command, *options, *arguments], cwd=ROOT, check=True, capture_output=True, text=True
    )
    return entries(done.stdout)


def main() -> None:
    found = resolve("requirements.txt", "--constraints", "constraints.txt")
    for wheel in map(Path, sys.argv[1:]):
        name = wheel.name.split("-")[0].lower()
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        found[name] = found[name].rstrip() + f" \\\n    --hash=sha256:{digest}\n"
    cuda = {name for name in found if _CUDA.match(name)}
    head = _HEAD.format(source="requirements.txt and constraints.txt")
    LOCK.write_text(head + "".join(found[name] for name in found if name not in cuda))
    CUDA_LOCK.write_text(head + "".join(found[name] for name in found if name in cuda))
    tools = resolve("scripts/sbom.txt")
    TOOLS_LOCK.write_text(_HEAD.format(source="scripts/sbom.txt") + "".join(tools.values()))
    cloud = resolve(str(CLOUD.relative_to(ROOT) / "requirements.txt"))
    CLOUD_LOCK.write_text(
        _HEAD.format(source="requirements.txt beside it") + "".join(cloud.values())
    )


if __name__ == "__main__":
    main()
