"""Lambda's entry point: `runtime.classifier.handler.handle`.

`_FUNCTION` is the project's one piece of module-level state: the cold-start cache. Lambda imports
this module once an environment, in the INIT phase, which has full processor speed and, under
SnapStart and provisioned concurrency, nobody waiting; so the model is loaded here.
"""

from __future__ import annotations

import time

_STARTED = time.monotonic()

import importlib.util  # noqa: E402  the clock above starts before anything else is imported
import os  # noqa: E402
from typing import Any  # noqa: E402

from runtime.classifier.environment import return_freed_blocks  # noqa: E402
from runtime.classifier.function import Function  # noqa: E402
from runtime.contract import Env  # noqa: E402

# Before NumPy is imported: its OpenBLAS would start a thread for each further processor, which
# spins for 0.1 s of processor time, waiting for matrix products that nobody here asks for.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
return_freed_blocks()
_FUNCTION = Function.from_env(os.environ, started=_STARTED)
_FUNCTION.initialise(ahead=os.environ.get(Env.COLD_START) in {"snapstart", "provisioned"})

# Only AWS's own runtime has it (Python 3.12 and later).
if importlib.util.find_spec("snapshot_restore_py"):
    importlib.import_module("snapshot_restore_py").register_after_restore(_FUNCTION.restored)


def handle(event: object, context: object) -> dict[str, Any]:
    """Answer one invocation, see `runtime.classifier.function.Function.handle`."""
    return _FUNCTION.handle(event, context)
