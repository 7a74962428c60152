"""Resolves the stated support matrix: `.venv/bin/python scripts/check_support.py [--size]`.

The core and `serve` for every system and Python that docs/index.md names, from wheels alone, by
uv's own resolution; nothing is installed. `--size` fetches the core instead and
measures it. Ends with 1 when something does not resolve or is too large, and with 0 and a reason
where the package index cannot be reached or uv is missing (pip install uv).
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from itertools import product
from pathlib import Path
from typing import Final

CHECKOUT: Final = Path(__file__).resolve().parent.parent
PYTHONS: Final = ("3.11", "3.12", "3.13", "3.14")
PLATFORMS: Final = {
    "Linux x86-64": "x86_64-manylinux_2_28",
    "Linux arm64": "aarch64-manylinux_2_35",  # the oldest glibc that OpenVINO has wheels for
    "macOS arm64": "aarch64-apple-darwin",
    "Windows x86-64": "x86_64-pc-windows-msvc",
}
MACOS: Final = "14.0"
"""The oldest that ONNX Runtime has wheels for."""
EXTRAS: Final = ("", "serve")
LARGEST_CORE_MB: Final = 60
SECONDS: Final = 150
_NO_INDEX: Final = ("error sending request", "dns error", "Could not connect", "timed out")


def resolve(uv: str, *, platform: str, python: str, extra: str, seconds: float) -> str | None:
    """None when it resolves, else what uv says. Raises TimeoutExpired."""
    options = ["--quiet", "--only-binary", ":all:", "--no-header", "--no-annotate"]
    target = ["--python-platform", platform, "--python-version", python]
    wanted = ["--extra", extra] if extra else []
    done = subprocess.run(
        [uv, "pip", "compile", *options, *target, *wanted, "pyproject.toml"],
        cwd=CHECKOUT,
        env={
            **os.environ,
            "MACOSX_DEPLOYMENT_TARGET": MACOS,
            "UV_PYTHON_DOWNLOADS": "never",
            "NO_COLOR": "1",
        },
        capture_output=True,
        text=True,
        timeout=max(1.0, seconds),
        check=False,
    )
    return None if done.returncode == 0 else done.stderr.strip()


def matrix(uv: str) -> int:
    """Resolve all of it; the exit status."""
    until = time.monotonic() + SECONDS
    failed = 0
    for extra, (name, platform), python in product(EXTRAS, PLATFORMS.items(), PYTHONS):
        what = f"{extra or 'core':<6} {name:<15} Python {python}"
        try:
            trouble = resolve(
                uv,
                platform=platform,
                python=python,
                extra=extra,
                seconds=until - time.monotonic(),
            )
        except subprocess.TimeoutExpired:
            print(f"{what}: not resolved, {SECONDS} s are over")
            break
        if trouble is None:
            print(f"{what}: resolves")
        elif any(words in trouble for words in _NO_INDEX):
            print(f"skipped: the package index cannot be reached\n{trouble}")
            return 0
        else:
            failed += 1
            print(f"{what}: FAILS\n{trouble}")
    return 1 if failed else 0


def core_size() -> int:
    """Fetch the core as pip would, and unpack it; the exit status is by what it takes on a disk."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    with tempfile.TemporaryDirectory() as name:
        fetched, unpacked = Path(name, "fetched"), Path(name, "unpacked")
        wheels = ["wheel", "--quiet", "--wheel-dir", str(fetched), str(CHECKOUT)]
        subprocess.run([*pip, *wheels], check=True)
        every = sorted(fetched.glob("*.whl"))
        for wheel in every:
            shutil.unpack_archive(wheel, unpacked, "zip")
        download = sum(wheel.stat().st_size for wheel in every) / 1e6
        size = sum(path.stat().st_size for path in unpacked.rglob("*") if path.is_file()) / 1e6
    print(
        f"the core: {len(every)} wheels, {download:.1f} MB to fetch, "
        f"{size:.1f} MB unpacked (at most {LARGEST_CORE_MB})"
    )
    return 0 if size < LARGEST_CORE_MB else 1


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--size", action="store_true", help="measure the installed core instead")
    if parser.parse_args().size:
        return core_size()
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if uv is None:
        print("skipped: uv is missing (pip install uv)")
        return 0
    return matrix(uv)


if __name__ == "__main__":
    sys.exit(main())
