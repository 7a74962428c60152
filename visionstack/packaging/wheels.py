"""Wheels for a Python and an architecture that need not be this machine's."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from visionstack import paths
from visionstack.packaging.errors import PackagingError
from visionstack.packaging.recipes import Recipe

CONSTRAINTS: Final = paths.shipped("constraints.txt")
OLDEST_GLIBC: Final = 5
NOT_NEEDED: Final = re.compile(
    r"(^|/)(tests?|testing/tests)/|\.(pyi|pxd|pyx|a|h|hpp|c|cpp)$|\.dist-info/(RECORD|REQUESTED)$"
    r"|\.dist-info/(direct_url\.json|INSTALLER)$"
)
"""Parts of a wheel that no function imports; they cost unpacking time and count into 250 MB."""


def platform_tags(machine: str, *, glibc: int) -> list[str]:
    """manylinux tags that a system with glibc 2.`glibc` can use, newest first (PEP 600)."""
    modern = [f"manylinux_2_{minor}_{machine}" for minor in range(glibc, OLDEST_GLIBC - 1, -1)]
    old = ["manylinux2014", *(["manylinux2010", "manylinux1"] if machine == "x86_64" else [])]
    return [*modern, *(f"{tag}_{machine}" for tag in old)]


def fetch(recipe: Recipe, cache: Path) -> list[Path]:
    """The wheels of a recipe's requirements and of what they need, from `cache` when it has them.

    So a change of code alone asks no package index. PackagingError names the target and what pip
    could not find.
    """
    if not any(_wanted(file) for file in recipe.requirements):
        return []
    folder = cache / f"{recipe.name}-{_resolution_key(recipe)[:16]}"
    if not folder.is_dir():
        half = folder.with_name(f".{folder.name}.{os.getpid()}")
        shutil.rmtree(half, ignore_errors=True)
        try:
            _download(recipe, half)
            for old in cache.glob(f"{recipe.name}-*"):
                shutil.rmtree(old)
            half.rename(folder)
        finally:
            shutil.rmtree(half, ignore_errors=True)
    return sorted(folder.glob("*.whl"))


def _resolution_key(recipe: Recipe) -> str:
    """What decides which wheels pip takes."""
    digest = hashlib.sha256(f"{recipe.target} {recipe.glibc}".encode())
    for file in (CONSTRAINTS, *recipe.requirements):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _download(recipe: Recipe, into: Path) -> None:
    into.mkdir(parents=True)
    command = [
        *(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"),
        *("--only-binary=:all:", "--implementation", "cp"),
        *("--python-version", recipe.target.python, "--dest", str(into)),
        *("--constraint", str(CONSTRAINTS)),
    ]
    for tag in platform_tags(recipe.machine, glibc=recipe.glibc):
        command += ["--platform", tag]
    for file in recipe.requirements:
        command += ["--requirement", str(file)]
    # In a folder of its own, so that no setup.cfg or pip configuration of the checkout counts.
    with tempfile.TemporaryDirectory() as empty:
        done = subprocess.run(command, cwd=empty, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        told = "\n".join(
            f"  {line}" for line in done.stderr.splitlines()[-8:] if "WARNING" not in line
        )
        raise PackagingError(
            f"pip found no wheels for {recipe.name} (Python {recipe.target.python}, "
            f"{recipe.target.arch}, glibc 2.{recipe.glibc}):\n{told}",
            remedy="Is the package index reachable? Does every requirement have a wheel for it?",
        )


def unpack(wheels: Sequence[Path], into: Path) -> None:
    """Install wheels flat, as Lambda imports them; scripts and headers are left out."""
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            for entry in archive.infolist():
                name = _installed_name(entry.filename)
                if entry.is_dir() or name is None or NOT_NEEDED.search(name):
                    continue
                place = into / name
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(archive.read(entry))


def lock(wheels: Sequence[Path]) -> str:
    """A requirements file that pins each wheel by version and hash."""
    lines = []
    for wheel in sorted(wheels, key=lambda one: one.name.lower()):
        name, version, *_ = wheel.name.split("-")
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        lines.append(f"{name.replace('_', '-')}=={version} --hash=sha256:{digest}")
    return "\n".join(lines) + "\n"


def _installed_name(name: str) -> str | None:
    first, _, rest = name.partition("/")
    if not first.endswith(".data"):
        return name
    scheme, _, inside = rest.partition("/")
    return inside if scheme in {"purelib", "platlib"} else None


def _wanted(file: Path) -> bool:
    if not file.exists():
        raise PackagingError(f"{file} is missing.")
    lines = (line.strip() for line in file.read_text().splitlines())
    return any(line and not line.startswith("#") for line in lines)
