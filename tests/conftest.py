"""How tests are shared out, and a run that leaves no process behind, also when it is killed."""

from __future__ import annotations

import os
import threading
import time
from contextlib import AbstractContextManager, ExitStack
from typing import Any

import psutil
import pytest
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

from visionstack.processes import ProcessId, ended_with_this_process

MARK_VARIABLE = "VISIONSTACK_TESTS_MARK"
"""Inherited by whatever a test starts: it ends with the pytest, or the worker, that runs it."""

SHARED_BY_FOLDER = tuple(
    f"tests/{folder}/"
    for folder in ("cloud/own", "cloud", "infrastructure", "browser", "contract", "unit/inference")
)
"""Folders whose tests share what takes long to make: a deployment, a synthesis, a browser."""
LONGEST_FIRST = (
    "tests/cloud/",
    "tests/cloud/own/",
    "tests/unit/models/test_killed.py",
    "tests/unit/inference/",
    "tests/infrastructure/",
    "tests/unit/training/test_run.py",
    "tests/unit/models/test_building.py",
    "tests/unit/training/test_memory.py",
    "tests/browser/",
)
"""By measured processor time, so that no process is left with one of them at the end."""


class Together(LoadScopeScheduling):
    """What one process runs: a file, for its module's fixtures, or a folder that shares more.

    The marks of `--dist loadgroup` are not seen by pytest-xdist 3.8 under pytest 9.2.
    """

    def _split_scope(self, nodeid: str) -> str:
        return run_together(nodeid)


def run_together(nodeid: str) -> str:
    """The folder or file that the test is run with."""
    file = nodeid.partition("::")[0]
    return next((folder for folder in SHARED_BY_FOLDER if file.startswith(folder)), file)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    ranks = {name: rank for rank, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: ranks.get(run_together(item.nodeid), len(ranks)))


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Together:
    return Together(config, log)


def pytest_configure(config: pytest.Config) -> None:
    mark = f"{os.getpid()}-{time.time()}"
    config.add_cleanup(_entered(ended_with_this_process(MARK_VARIABLE, mark)).close)
    os.environ[MARK_VARIABLE] = mark
    # Of torch. The processors are shared by several tests, whose threads would wait for each other.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    # Its 200 ms for an example are of a machine that does nothing else.
    settings.register_profile("no deadline", deadline=None)
    settings.load_profile("no deadline")
    # Read, not taken away: the workers of pytest-xdist inherit it.
    maker = os.environ.get("VISIONSTACK_TESTS_END_WITH")
    if maker is not None:
        try:
            owner = ProcessId.of(int(maker))
        except psutil.NoSuchProcess:
            os._exit(1)
        threading.Thread(target=_end_with, args=(owner,), daemon=True).start()


def _end_with(owner: ProcessId) -> None:
    while owner.alive():
        time.sleep(1)
    # At once: pipes close, and who waits at them (`ended_with_this_process`) ends the rest.
    os._exit(1)


def _entered(context: AbstractContextManager[None]) -> ExitStack:
    stack = ExitStack()
    stack.enter_context(context)
    return stack
