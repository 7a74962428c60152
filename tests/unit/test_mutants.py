"""The mutants of `python -m benchmarks mutation`: what is changed, and that a change is noticed."""

from __future__ import annotations

import ast
import importlib
import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import _mutant_trial
from benchmarks._mutants import mutants
from benchmarks.mutation import MODULES

ROOT = Path(__file__).resolve().parents[2]

SOURCE = '''"""A text of 3."""
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    import nothing

def bound(value: int) -> bool:
    log.info("seen", 1)
    return value < 10
'''


def test_a_line_is_changed_in_one_place_and_texts_types_and_logging_are_left_alone() -> None:
    found = mutants(SOURCE)
    assert [(mutant.line, mutant.change) for mutant in found] == [
        (8, "returns None"),
        (8, "Lt to LtE"),
        (8, "Lt to GtE"),
        (8, "10 to 11"),
    ]
    answers = []
    for mutant in found:
        names: dict[str, object] = {"log": type("Log", (), {"info": print})}
        exec(compile(mutant.tree, "changed", "exec"), names)  # noqa: S102
        bound = names["bound"]
        answers.append([bound(number) for number in (9, 10, 11)])  # type: ignore[operator]
    assert answers == [
        [None, None, None],
        [True, True, False],
        [False, True, True],
        [True, True, False],
    ]


def test_every_module_and_every_test_file_that_is_named_exists() -> None:
    assert [path for path in MODULES if not (ROOT / path).is_file()] == []
    tests = {path for paths in MODULES.values() for path in paths}
    assert [path for path in tests if not (ROOT / path).exists()] == []


def test_every_equivalent_has_its_reason_and_is_still_a_mutant_of_its_module() -> None:
    listed = json.loads((ROOT / "benchmarks" / "mutation_equivalents.json").read_text())
    keys = {
        module: {mutant.key for mutant in mutants((ROOT / module).read_text())}
        for module in {entry["module"] for entry in listed}
    }
    for entry in listed:
        assert (entry["text"], entry["change"], entry["column"]) in keys[entry["module"]], entry
        assert len(entry["reason"]) > 20


def test_a_mutant_is_killed_by_a_test_that_notices_it_and_lives_on_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    module = Path("limits_of_it.py")
    module.write_text("def bound(value):\n    return value < 10\n")
    test = "from limits_of_it import bound\n\ndef test_it():\n    assert bound({}) is {}\n"
    Path("test_sharp.py").write_text(test.format(10, False))
    Path("test_blunt.py").write_text(test.format(5, True))
    (changed,) = (m for m in mutants(module.read_text()) if m.change == "Lt to LtE")
    fates = [
        _mutant_trial.passes([name], module=module, tree=changed.tree, seconds=100)
        for name in ("test_sharp.py", "test_blunt.py")
    ]
    assert fates == [False, True]


def test_a_not_that_is_left_out_is_another_condition() -> None:
    source = "def empty(items):\n    return not items\n"
    (changed,) = (m for m in mutants(source) if m.change == "Not left out")
    space: dict[str, Any] = {}
    exec(compile(changed.tree, "changed", "exec"), space)  # noqa: S102
    assert not space["empty"]([])


def test_a_module_that_this_process_has_imported_is_replaced_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = Path("runtime/measurement/statistics.py")
    importlib.import_module("runtime.measurement.statistics")
    test = tmp_path / "test_import.py"
    test.write_text("import runtime.measurement.statistics\n\ndef test_it():\n    pass\n")
    changed = ast.parse("raise ImportError")
    assert _mutant_trial.passes([str(test)], module=module, tree=changed, seconds=100) is False
