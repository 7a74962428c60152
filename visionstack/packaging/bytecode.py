"""Bytecode in a function's package: /var/task is read-only, so cold starts would compile anew."""

from __future__ import annotations

import compileall
import sys
from pathlib import Path
from py_compile import PycInvalidationMode
from typing import Final

_IN_LAMBDA: Final = "/var/task"


def compile_package(folder: Path, *, python: str) -> bool:
    """Compile everything below `folder`, when this interpreter is the `python` it is built for.

    The files are of the unchecked kind (PEP 552), which no change of a file's time invalidates.
    Returns whether it was done; without it a function of another version compiles as it imports.
    """
    if python != f"{sys.version_info.major}.{sys.version_info.minor}":
        return False
    compileall.compile_dir(
        folder,
        quiet=2,
        stripdir=str(folder),
        prependdir=_IN_LAMBDA,
        invalidation_mode=PycInvalidationMode.UNCHECKED_HASH,
    )
    return True
