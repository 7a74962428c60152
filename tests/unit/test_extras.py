"""What a missing extra is asked for by: where this package was installed from."""

from __future__ import annotations

import ast
import json
import re
import sys
import tomllib
from importlib import metadata
from typing import Any

import pytest
from packaging.requirements import Requirement

from visionstack import extras
from visionstack.paths import IMPORT_ROOT

CARRIED = {
    "annotated_types": "pydantic",
    "botocore": "boto3",
    "jsii": "aws-cdk-lib",
    "markupsafe": "jinja2",
}
"""Modules of distributions that a declared one cannot do without."""
OPTIONAL = {"pynvml"}
"""Tried where it is used, and done without."""


@pytest.mark.parametrize(
    ("origin", "url", "specifier"),
    [
        (None, None, "==9.8.7"),
        ({"url": "file:///src/visionstack", "dir_info": {}}, "file:///src/visionstack", ""),
        (
            {"url": "https://example.test/v.git", "vcs_info": {"vcs": "git", "commit_id": "a1"}},
            "git+https://example.test/v.git",
            "",
        ),
    ],
)
def test_an_extra_comes_from_where_the_package_came_from(
    origin: dict[str, Any] | None,
    url: str | None,
    specifier: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Read back by pip's own parser (packaging), as PEP 508 and PEP 610 have it."""

    class Installed:
        version = "9.8.7"

        def read_text(self, name: str) -> str | None:
            assert name == "direct_url.json"
            return json.dumps(origin) if origin else None

    monkeypatch.setattr(metadata, "distribution", lambda _name: Installed())
    error = extras.explain(ModuleNotFoundError("no onnx", name="onnx.helper"))
    assert error is not None
    found = Requirement((error.remedy or "").split("'")[1])
    assert (found.name, found.extras, found.url) == ("visionstack", {"serve"}, url)
    assert str(found.specifier) == specifier


def _imported() -> set[str]:
    """Every top-level module of other projects that the three packages import anywhere."""
    found: set[str] = set()
    for package in ("visionstack", "runtime", "stacks"):
        for path in (IMPORT_ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Import):
                    found |= {alias.name.partition(".")[0] for alias in node.names}
                elif isinstance(node, ast.ImportFrom) and not node.level:
                    found.add(str(node.module).partition(".")[0])
    return found - sys.stdlib_module_names - {"visionstack", "runtime", "stacks"}


def _declared() -> dict[str, set[str]]:
    """Distributions of the core ("") and of each extra, with those that it includes."""
    text = (IMPORT_ROOT / "pyproject.toml").read_text(encoding="utf-8")
    project = tomllib.loads(text)["project"]
    asked = {"": project["dependencies"], **project["optional-dependencies"]}

    def of(extra: str) -> set[str]:
        names: set[str] = set()
        for requirement in map(Requirement, asked[extra]):
            names.add(_plain(requirement.name))
            if requirement.name == "visionstack":
                names |= {name for one in requirement.extras for name in of(one)}
        return names

    return {extra: of(extra) for extra in asked}


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_what_is_imported_is_declared_by_the_extra_that_its_absence_is_blamed_on() -> None:
    brought, declared = metadata.packages_distributions(), _declared()
    imported = _imported()
    assert len(imported) > 30
    for module in sorted(imported - OPTIONAL):
        names = {_plain(name) for name in brought.get(module, [])} | {CARRIED.get(module, module)}
        extra = extras.EXTRAS.get(module, "")
        if module in CARRIED and not extra:
            assert any(names & found for found in declared.values()), module
        else:
            assert names & declared[extra], f"{module}: {extra or 'core'} does not bring it"
    assert set(extras.EXTRAS) <= imported


def test_libraries_are_asked_for_before_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    extras.require("json")
    monkeypatch.setitem(extras.EXTRAS, "no_such_module", "train")
    with pytest.raises(extras.MissingExtraError, match="library no_such_module"):
        extras.require("no_such_module")
