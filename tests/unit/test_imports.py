"""No two files need each other, inside functions and under TYPE_CHECKING neither."""

from __future__ import annotations

import ast
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import grimp
import pytest

CHECKOUT = Path(__file__).resolve().parent.parent.parent
CLIENTS = ("visionstack.stream", "visionstack.classify")
SERVERS = ("runtime.streaming", "runtime.classifier", "runtime.warmer", "stacks")


def graph_of(*packages: str) -> grimp.ImportGraph:
    return grimp.build_graph(*packages, cache_dir=None)


def in_order(graph: grimp.ImportGraph) -> list[str]:
    """Files, each after those that it imports. Raises CycleError with a circle."""
    needs = {one: graph.find_modules_directly_imported_by(one) for one in graph.modules}
    return list(TopologicalSorter(needs).static_order())


def test_files_can_be_put_in_an_order_in_which_each_needs_earlier_ones_only() -> None:
    order = in_order(graph_of("runtime", "stacks", "visionstack", "benchmarks"))
    assert order.index("runtime.contract") < order.index("visionstack.cli.main")


@pytest.mark.parametrize(
    "back",
    [
        "def later():\n    from circle_of_two import first\n",
        "import typing\nif typing.TYPE_CHECKING:\n    from circle_of_two import first\n",
    ],
    ids=["in a function", "for types"],
)
def test_a_circle_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, back: str) -> None:
    package = tmp_path / "circle_of_two"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "first.py").write_text("from circle_of_two import second\n")
    (package / "second.py").write_text(back)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(CycleError):
        in_order(graph_of("circle_of_two"))
    assert "circle_of_two" not in sys.modules


def test_a_client_reaches_no_server_by_whatever_way() -> None:
    graph = graph_of("runtime", "stacks", "visionstack")
    reached = [
        (client, server)
        for client in CLIENTS
        for server in SERVERS
        if graph.chain_exists(importer=client, imported=server, as_packages=True)
    ]
    assert reached == []
    assert graph.chain_exists("visionstack.cli", "visionstack.stream", as_packages=True)


def imports_of(file: Path, name: str, known: set[str]) -> tuple[set[str], set[str]]:
    """Modules of `known` that the file imports when it is loaded, and inside functions."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    inside = {
        id(below)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for below in ast.walk(node)
    }
    for_types = {
        id(below)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for below in ast.walk(node)
    }
    loaded, later = set(), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            wanted = [one.name for one in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            wanted = [node.module, *(f"{node.module}.{one.name}" for one in node.names)]
        else:
            continue
        if id(node) not in for_types:
            (later if id(node) in inside else loaded).update(known.intersection(wanted))
    return loaded - {name}, later - {name}


def test_an_import_inside_a_function_loads_what_its_file_has_not_loaded() -> None:
    files = {
        ".".join(file.relative_to(CHECKOUT).with_suffix("").parts).removesuffix(".__init__"): file
        for package in ("runtime", "stacks", "visionstack")
        for file in (CHECKOUT / package).rglob("*.py")
    }
    found = {name: imports_of(file, name, set(files)) for name, file in files.items()}
    loads: dict[str, set[str]] = {}
    for name in TopologicalSorter({name: one for name, (one, _) in found.items()}).static_order():
        direct = found[name][0]
        loads[name] = direct.union(*(loads[one] for one in direct))
    saves_nothing = sorted(
        f"{name} imports {one}"
        for name, (_, later) in found.items()
        for one in later & loads[name]
        if files[one].name != "__init__.py"
    )
    assert saves_nothing == []
