"""One run of some tests in a forked process, in which one module may be a changed one."""

from __future__ import annotations

import ast
import importlib.util
import os
import signal
import sys
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


def passes(
    tests: Sequence[str], *, module: Path, tree: ast.Module | None, seconds: float
) -> bool | None:
    """Whether the tests pass with `tree` in the place of `module`; None when time ran out.

    Call it in a process that has not imported the module.
    """
    child = os.fork()
    if child == 0:
        os._exit(_run(tests, module, tree))
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status) == 0
        time.sleep(0.02)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def _run(tests: Sequence[str], module: Path, tree: ast.Module | None) -> int:
    try:
        os.setpgid(0, 0)
        silence = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(silence, stream)
        if tree is not None:
            name = ".".join(module.with_suffix("").parts)
            sys.meta_path.insert(0, _Finder(name, module.resolve(), tree))
        import pytest

        options = ["-x", "-q", "-p", "no:cacheprovider", "-m", "not slow and not gpu"]
        return int(pytest.main([*options, *tests]))
    except BaseException:  # a module that cannot even be compiled or imported fails its tests
        return 1
