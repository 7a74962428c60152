"""Auto Scaling on the embedded cloud: capacity changes, failures, draining, replacement."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from runtime.contract import Output, Stack
from visionstack import paths
from visionstack.cloud.local_fleet import Fleet, Instance, InstanceState

if TYPE_CHECKING:
    from tests.cloud.conftest import EmbeddedCloud

pytestmark = pytest.mark.cloud
PATIENCE_S = 240


@pytest.fixture(scope="module")
def two_servers(embedded_cloud: EmbeddedCloud) -> Iterator[EmbeddedCloud]:
    """The group at capacity 2, back at 1 afterwards."""
    _set_capacity(embedded_cloud, 2)
    _until(lambda: len(_healthy(embedded_cloud)) == 2)
    yield embedded_cloud
    _set_capacity(embedded_cloud, 1)
    _until(lambda: len(_instances(embedded_cloud)) == 1)


def test_a_raised_capacity_boots_a_second_server_behind_the_same_address(
    two_servers: EmbeddedCloud,
) -> None:
    (balancer,) = [
        one for one in Fleet.read(two_servers.folder).balancers if one.group == _group(two_servers)
    ]

    assert len({one.stream_port for one in _instances(two_servers)}) == 2
    assert balancer.healthy == 2


def test_a_lossless_stream_outlives_the_server_that_served_it(two_servers: EmbeddedCloud) -> None:
    frames = 80
    with subprocess.Popen(
        [
            *(sys.executable, "-m", "visionstack.cli", "stream"),
            *(str(paths.SAMPLES / "pedestrians.avi"), "--policy", "lossless", "--json"),
            *("--limit", str(frames)),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as streaming:
        assert streaming.stdout is not None
        first = [json.loads(streaming.stdout.readline()) for _ in range(5)]
        victim = _serving(two_servers)
        os.kill(two_servers.server_pid(victim), signal.SIGKILL)
        rest = [json.loads(line) for line in streaming.stdout]
        assert streaming.stderr is not None
        told = streaming.stderr.read()

    assert streaming.returncode == 0, told
    assert [one["frame"] for one in [*first, *rest]] == list(range(frames))
    _until(lambda: len(_healthy(two_servers)) == 2)
    assert _by_id(two_servers, victim).boots == 2


def test_a_lowered_capacity_drains_one_server_and_removes_its_folder(
    two_servers: EmbeddedCloud,
) -> None:
    before = {one.id for one in _instances(two_servers)}

    _set_capacity(two_servers, 1)

    _until(lambda: len(_instances(two_servers)) == 1)
    (left,) = _instances(two_servers)
    (gone,) = before - {left.id}
    assert left.state is InstanceState.HEALTHY
    assert not (two_servers.folder.instances / gone).exists()


def _serving(cloud: EmbeddedCloud) -> str:
    """The instance that has a client: the one with an established connection to its stream."""
    import psutil

    for one in _instances(cloud):
        server = psutil.Process(cloud.server_pid(one.id))
        if any(
            connection.status == psutil.CONN_ESTABLISHED
            and connection.laddr.port == one.stream_port
            for connection in server.net_connections(kind="tcp")
        ):
            return one.id
    raise AssertionError("no server has a client")


def _set_capacity(cloud: EmbeddedCloud, capacity: int) -> None:
    cloud.deployment.client("autoscaling").set_desired_capacity(
        AutoScalingGroupName=_group(cloud), DesiredCapacity=capacity
    )


def _group(cloud: EmbeddedCloud) -> str:
    return cloud.deployment.output(Stack.STREAMING, Output.STREAM_AUTO_SCALING_GROUP)


def _instances(cloud: EmbeddedCloud) -> list[Instance]:
    group = _group(cloud)
    return [one for one in Fleet.read(cloud.folder).instances if one.group == group]


def _healthy(cloud: EmbeddedCloud) -> list[Instance]:
    return [one for one in _instances(cloud) if one.state is InstanceState.HEALTHY]


def _by_id(cloud: EmbeddedCloud, instance_id: str) -> Instance:
    return next(one for one in _instances(cloud) if one.id == instance_id)


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.2)
