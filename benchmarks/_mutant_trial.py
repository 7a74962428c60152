"""One run of some tests in a forked process, in which one module may be a changed one."""

from __future__ import annotations

import ast
import contextlib
import importlib
import importlib.util
import os
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType


class _ChangedSource(SourceFileLoader):
    def __init__(self, name: str, path: str, code: CodeType) -> None:
        super().__init__(name, path)
        self._code = code

    def get_code(self, fullname: str) -> CodeType:
        return self._code


class _Finder(MetaPathFinder):
    """Gives the changed module to whoever imports it; the file stays as it is."""

    def __init__(self, name: str, path: Path, tree: ast.Module) -> None:
        self._name = name
        self._loader: Loader = _ChangedSource(name, str(path), compile(tree, str(path), "exec"))

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != self._name:
            return None
        return importlib.util.spec_from_loader(fullname, self._loader)


def warm_up(tests: Sequence[str], *, seconds: float) -> bool | None:
    """Whether the tests pass; imports here what they import of other projects, for the forks.

    None when time ran out.
    """
    with tempfile.NamedTemporaryFile("r") as imported:
        child = os.fork()
        if child == 0:
            code = _run(tests)
            # In the order in which they came: `_asyncio` before `asyncio` leaves half of each.
            Path(imported.name).write_text("\n".join(filter(_is_foreign, sys.modules)))
            os._exit(code)
        passed = _outcome(child, seconds)
        for name in imported.read().split():
            with contextlib.suppress(Exception):
                importlib.import_module(name)
    return passed


def passes(tests: Sequence[str], *, module: Path, tree: ast.Module, seconds: float) -> bool | None:
    """Whether the tests pass with `tree` in the place of `module`; None when time ran out."""
    child = os.fork()
    if child == 0:
        name = ".".join(module.with_suffix("").parts)
        code = 1
        with contextlib.suppress(BaseException):
            # What this process has imported of ours (to write results, say) has the module in it.
            for imported in [one for one in sys.modules if _is_ours(one)]:
                del sys.modules[imported]
            sys.meta_path.insert(0, _Finder(name, module.resolve(), tree))
            code = _run(tests)
        os._exit(code)
    return _outcome(child, seconds)


def _is_ours(name: str) -> bool:
    return name.partition(".")[0] in {"runtime", "visionstack", "stacks", "tests"}


def _is_foreign(name: str) -> bool:
    """Whether a module may be imported once for all: not ours, and no process behind it."""
    return not _is_ours(name) and name.partition(".")[0] not in {
        *("benchmarks", "__main__", "__mp_main__"),
        *("aws_cdk", "jsii", "constructs"),
    }


def _outcome(child: int, seconds: float) -> bool | None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status) == 0
        time.sleep(0.02)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def _run(tests: Sequence[str]) -> int:
    os.setpgid(0, 0)
    silence = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(silence, stream)
    import pytest

    options = ["-x", "-q", "-p", "no:cacheprovider", "-m", "not slow and not gpu", "--tb=no"]
    return int(pytest.main([*options, *tests]))
