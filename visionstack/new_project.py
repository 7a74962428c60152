"""`visionstack init`: a CDK project that can be deployed, from what this package ships."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Final

from visionstack import paths
from visionstack.errors import UsageError, VisionstackError
from visionstack.extras import requirement

_FILES: Final = ("app.py", "package.json", "package-lock.json")
_FOLDERS: Final = ("stacks", "runtime")
_IGNORED: Final = (".models/", ".cloud/", ".venv/", ".venv-cloud*", "build/", "out/", "cdk.out/")
_APP: Final = "python -m visionstack.packaging && python app.py"
"""In a checkout cdk.json names the checkout's own environment; here the active one is meant."""


def write_project(folder: Path) -> list[str]:
    """Write cdk.json, app.py, stacks/, runtime/, … into a new or empty folder; returns the names.

    The copies of stacks/ and runtime/ are the project's own to change: Python finds them before
    the installed ones, since cdk runs the app in that folder.

    Raises:
        UsageError: the folder holds something already.
        VisionstackError: it cannot be written.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(
            f"{folder} is there already and not an empty folder.", remedy="Name another one."
        )
    settings = json.loads(paths.shipped("cdk.json").read_text(encoding="utf-8"))
    settings["app"] = _APP
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "cdk.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
        for name in _FILES:
            shutil.copyfile(paths.shipped(name), folder / name)
        for name in _FOLDERS:
            shutil.copytree(
                paths.IMPORT_ROOT / name,
                folder / name,
                ignore=shutil.ignore_patterns("__pycache__"),
            )
        (folder / "requirements.txt").write_text(requirement("all") + "\n")
        (folder / ".gitignore").write_text(
            "".join(f"{one}\n" for one in (*_IGNORED, "node_modules/", "__pycache__/"))
        )
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)  # it was empty; half of it would be refused
        # copytree's error is a list: from where, to where, why.
        why = error.args[0][0][2] if isinstance(error, shutil.Error) else error.strerror
        raise VisionstackError(
            f"{folder} cannot be written: {why}.", remedy="Name another place, or make room there."
        ) from error
    return sorted(one.name for one in folder.iterdir())
