"""A small checkout's worth of inputs, so that building takes milliseconds and asks no index."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from stacks.settings.model import PackageTarget
from visionstack import paths
from visionstack.packaging import build, recipes, wheels
from visionstack.packaging.recipes import Recipe, recipe


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Code of the four parts and requirements that name nothing."""
    runtime = tmp_path / "runtime"
    for part in ("inference", "classifier", "warmer", "streaming", "measurement"):
        (runtime / part).mkdir(parents=True)
        (runtime / part / "__init__.py").write_text(f'"""{part}"""\n')
        (runtime / part / "requirements.txt").write_text("# nothing\n")
    (runtime / "__init__.py").write_text("")
    (runtime / "contract.py").write_text("NAME = 1\n")
    (runtime / "classifier" / "requirements-s3.txt").write_text("# nothing\n")
    constraints = tmp_path / "constraints.txt"
    constraints.write_text("")
    for module in (recipes, build):
        monkeypatch.setattr(module, "RUNTIME", runtime)
    monkeypatch.setattr(wheels, "CONSTRAINTS", constraints)
    monkeypatch.setattr(paths, "PROJECT", tmp_path)
    monkeypatch.setattr(paths, "IMPORT_ROOT", tmp_path)
    monkeypatch.setattr(paths, "MODELS", tmp_path / ".models")
    instance = tmp_path / "instance"
    instance.mkdir()
    for file in (Path(recipes.__file__).parent / "instance").iterdir():
        (instance / file.name).write_bytes(file.read_bytes())
    for module in (recipes, build):
        monkeypatch.setattr(module, "INSTANCE_FILES", instance)
    return tmp_path


@pytest.fixture
def plan(checkout: Path) -> Callable[..., Recipe]:
    """Make the recipe of a target: `plan("classifier", variant="package")`."""

    def make(kind: str, *, variant: str = "", python: str = "3.13") -> Recipe:
        target = PackageTarget(kind, python, "x86_64", variant)  # type: ignore[arg-type]
        return recipe(target, classifier_model="small")

    return make


def write_wheel(folder: Path, name: str, files: dict[str, bytes], *, version: str = "1.0") -> Path:
    """A wheel with these files."""
    folder.mkdir(parents=True, exist_ok=True)
    wheel = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, content in files.items():
            archive.writestr(path, content)
        archive.writestr(f"{name}-{version}.dist-info/METADATA", f"Name: {name}\n")
        archive.writestr(f"{name}-{version}.dist-info/RECORD", "")
    return wheel
