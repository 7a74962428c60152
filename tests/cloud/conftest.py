"""Embedded clouds for the whole session, apart from the user's: own port, folder and state.

One has both lanes deployed. Another, for the tests in `own/`, which deploy what they need
themselves, has little: a process of pytest-xdist can have the one and another process the other.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from visionstack import processes
from visionstack.cloud import local_state
from visionstack.cloud.deployment import Deployment, StreamEndpoint
from visionstack.cloud.local_state import CloudFolder
from visionstack.deploy.local import deploy
from visionstack.localcloud import lifecycle

SMALL_SETTINGS = {
    "stream_model": "yolov3-tiny",
    "classifier_model": "efficientnet-lite0",
    # A test decides when environments are woken; the schedule is the shortest there is.
    "warm_interval": "1",
    "drain_seconds": "30",
    "keep_for_training_days": "1",
    # The page's port is the load balancer's, which is a free one: unknown before.
    "cors_origin": "*",
}
FIRST_MODULE, LAST_MODULE = "test_lanes", "test_destroy"
HERE = Path(__file__).parent
TOLD_WITHIN_S = 180
"""Servers send their metrics once a minute and their log lines every five seconds."""
DEPLOYMENT_TIMEOUT_S = 900
"""The first test's time includes the deployment, on a machine that may be busy."""


@dataclass(frozen=True)
class Cloud:
    """An embedded cloud that is up, and the means to talk to it."""

    folder: CloudFolder
    port: int
    deployment: Deployment

    def visionstack(
        self, *arguments: str, timeout: float = 270
    ) -> subprocess.CompletedProcess[str]:
        """Run the command as a user would; it finds this cloud by the environment."""
        return subprocess.run(
            [sys.executable, "-m", "visionstack.cli", *arguments],
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def json(self, *arguments: str, timeout: float = 270) -> Any:
        """The JSON document that a command prints."""
        done = self.visionstack(*arguments, "--json", timeout=timeout)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


@dataclass(frozen=True)
class EmbeddedCloud(Cloud):
    """One with both lanes deployed."""

    stream: StreamEndpoint

    def server_pid(self, instance_id: str) -> int:
        """The process that serves on an instance."""
        python = f"{self.folder.instances / instance_id}/root/venv/bin/python"
        for one in processes.marked(local_state.MARK_VARIABLE, str(self.folder.root)):
            if psutil.Process(one.pid).cmdline()[:1] == [python]:
                return one.pid
        raise AssertionError(f"{instance_id} has no server process")


@pytest.fixture(scope="session")
def embedded_cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedCloud]:
    """Both lanes deployed with small settings and served; everything is stopped afterwards."""
    port = free_port()
    with stopped_afterwards(tmp_path_factory.mktemp("cloud")) as folder, named(folder, port):
        deployed = deploy(context=SMALL_SETTINGS)
        yield EmbeddedCloud(folder, port, deployed.deployment, deployed.stream)


@contextmanager
def stopped_afterwards(root: Path) -> Iterator[CloudFolder]:
    """The folder of an embedded cloud that ends with this, or with this process if that is killed.

    On an error its logs are shown.
    """
    if shutil.which("node") is None:
        pytest.fail("these tests drive the CDK command line, which needs node")
    folder = CloudFolder(root.resolve())
    mark = str(folder.root)
    try:
        with processes.ended_with_this_process(local_state.MARK_VARIABLE, mark):
            yield folder
    except BaseException:
        _show_logs(folder.logs)
        raise
    finally:
        lifecycle.down(wipe=True, folder=folder)


@contextmanager
def named(folder: CloudFolder, port: int) -> Iterator[None]:
    """Inside, commands and libraries find this cloud by the environment."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        patch.setenv(local_state.FOLDER_VARIABLE, str(folder.root))
        patch.setenv(local_state.PORT_VARIABLE, str(port))
        # test_first_boot.py: systemd gives the server a user of its own.
        patch.setenv(local_state.USERS_VARIABLE, "any")
        yield


def until(condition: Callable[[], bool], *, message: str) -> None:
    """Wait for what the deployed parts tell AWS in their own time."""
    deadline = time.monotonic() + TOLD_WITHIN_S
    while not condition():
        assert time.monotonic() < deadline, message
        time.sleep(0.5)


def free_port() -> int:
    """A port of loopback that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Both lanes first, and whatever destroys the deployment after everything that needs it."""
    ranks = {FIRST_MODULE: -1, LAST_MODULE: 1}
    items.sort(key=lambda item: ranks.get(item.path.stem, 0))
    for item in items:
        if HERE in item.path.parents and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(DEPLOYMENT_TIMEOUT_S))


def _show_logs(folder: Path) -> None:
    logs: Sequence[Path] = sorted(folder.glob("*.log"))
    for log in logs:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
        sys.stderr.write(f"\n--- {log}\n{tail}\n")
