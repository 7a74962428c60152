"""Where the command line finds what it ships, and where it keeps what it makes.

A *project* is a folder whose `cdk.json` has visionstack's settings: a checkout, or what
`visionstack init` wrote. The nearest one above the working directory counts, else the checkout that
this package lies in. With a project everything is kept there (git ignores it); without one, models
and the embedded cloud's state go to the user's data folder and reports to `out/` where one stands.
"""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Final

from visionstack.errors import VisionstackError

IMPORT_ROOT: Final = Path(__file__).resolve().parent.parent
"""The folder that `visionstack`, `runtime` and `stacks` are imported from."""
_SHIPPED: Final = Path(__file__).resolve().parent / "shipped"
"""In a wheel, copies of the files that stand at the top of a checkout (pyproject.toml)."""


def shipped(name: str) -> Path:
    """A file or folder from the top of the checkout, or the wheel's copy of it."""
    here = IMPORT_ROOT / name
    return here if is_project(IMPORT_ROOT) else _SHIPPED / name


def is_project(folder: Path) -> bool:
    """Whether its `cdk.json` has visionstack's settings."""
    try:
        context = json.loads((folder / "cdk.json").read_text(encoding="utf-8"))["context"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return isinstance(context, dict) and "visionstack" in context


def find_project(start: Path) -> Path | None:
    """The nearest project at or above `start`, else the checkout of this package, else None."""
    for folder in (start, *start.parents, IMPORT_ROOT):
        if is_project(folder):
            return folder
    return None


def _user_data() -> Path:
    from platformdirs import user_data_path  # a hundredth of `visionstack --help`

    return user_data_path("visionstack", appauthor=False)


PROJECT: Final = find_project(Path.cwd())
_KEPT: Final = PROJECT or _user_data()
_DOT: Final = "." if PROJECT else ""
SAMPLES: Final = shipped("samples")
RUNTIME: Final = (
    PROJECT if PROJECT and (PROJECT / "runtime").is_dir() else IMPORT_ROOT
) / "runtime"
"""What is packaged for Lambda and the instances: the project's own copy where it has one."""
MODELS: Final = _KEPT / f"{_DOT}models"
"""Built model artifacts, `{name}/{version}/`, and `cache/` for what was downloaded."""
CLOUD: Final = _KEPT / f"{_DOT}cloud"
"""State and logs of the embedded cloud."""
CLOUD_VENV: Final = _KEPT / f"{_DOT}venv-cloud"
BUILD: Final = _KEPT / "build"
"""Packages for Lambda and the instance, one folder a target."""
OUT: Final = (PROJECT or Path.cwd()) / "out"
"""Reports."""


def sample(name: str) -> str:
    """A sample's path as one would type it: relative where it lies below the working directory."""
    path = SAMPLES / name
    here = Path.cwd()
    return shlex.quote(str(path.relative_to(here) if path.is_relative_to(here) else path))


def project() -> Path:
    """The project that AWS commands work on.

    Raises:
        VisionstackError: there is none here; the remedy is `visionstack init`.
    """
    if PROJECT is None:
        raise VisionstackError(
            f"{Path.cwd()} is no visionstack project: there is no cdk.json with its settings.",
            remedy="Write one with `visionstack init DIR`, go there, and run this again.",
        )
    return PROJECT
