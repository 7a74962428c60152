"""A test run that ends with the `make` that started it, also when that is killed."""

from __future__ import annotations

import os
import threading
import time
from typing import Any

import psutil
import pytest
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

from visionstack.processes import ProcessId

SHARED_BY_FOLDER = tuple(
    f"tests/{folder}/"
    for folder in ("cloud", "infrastructure", "browser", "contract", "unit/inference")
)
"""Folders whose tests share what takes long to make: a deployment, a synthesis, a browser."""


class Together(LoadScopeScheduling):
    """What one process runs: a file, for its module's fixtures, or a folder that shares more.

    The marks of `--dist loadgroup` are not seen by pytest-xdist 3.8 under pytest 9.2.
    """

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return next((folder for folder in SHARED_BY_FOLDER if file.startswith(folder)), file)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Together:
    return Together(config, log)


def pytest_configure() -> None:
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
    # At once: pipes close, and who waits at them (visionstack.localcloud.orphans) ends the rest.
    os._exit(1)
