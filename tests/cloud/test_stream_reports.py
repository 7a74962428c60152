"""What the deployed stream server tells AWS, read back from the embedded cloud.

MiniStack keeps metrics, dashboards, alarms, log lines and lifecycle hooks, and answers instance
metadata by version 2. It has no spot market and never changes an instance's lifecycle state, and it
takes CompleteLifecycleAction without any effect: the notices themselves are in
`tests/unit/streaming/host/test_instance.py`, the drain by a signal in `test_group.py`.
"""

from __future__ import annotations

import asyncio
import json
import logging
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from runtime.contract import STREAM_DRAIN_HOOK, Env, Output, Stack, StreamMetric
from runtime.streaming.host import aws
from runtime.streaming.host.instance import InstanceMetadata, leaving
from tests.cloud.conftest import until
from visionstack.cloud import local_state
from visionstack.cloud.local_fleet import Fleet
from visionstack.paths import SAMPLES

if TYPE_CHECKING:
    from tests.cloud.conftest import EmbeddedCloud

pytestmark = pytest.mark.cloud


def group(cloud: EmbeddedCloud) -> str:
    return cloud.deployment.output(Stack.STREAMING, Output.STREAM_AUTO_SCALING_GROUP)


def shown(cloud: EmbeddedCloud) -> set[str]:
    """Names of the metrics on the deployed dashboard, all of the group and the namespace."""
    client = cloud.deployment.client("cloudwatch")
    body = client.get_dashboard(DashboardName="visionstack-streaming")["DashboardBody"]
    names = set()
    for widget in json.loads(body)["widgets"]:
        for namespace, name, dimension, value, *_ in widget["properties"]["metrics"]:
            assert namespace == StreamMetric.NAMESPACE
            assert (dimension, value) == (StreamMetric.GROUP_DIMENSION, group(cloud))
            names.add(name)
    return names


def points(cloud: EmbeddedCloud, name: str) -> list[dict[str, Any]]:
    now = datetime.now(UTC)
    answer = cloud.deployment.client("cloudwatch").get_metric_statistics(
        Namespace=StreamMetric.NAMESPACE,
        MetricName=name,
        Dimensions=[{"Name": StreamMetric.GROUP_DIMENSION, "Value": group(cloud)}],
        StartTime=now - timedelta(hours=1),
        EndTime=now + timedelta(minutes=1),
        Period=60,
        Statistics=["Maximum"],
    )
    found: list[dict[str, Any]] = answer["Datapoints"]
    return found


def test_every_metric_of_the_dashboard_is_published_by_the_server(
    embedded_cloud: EmbeddedCloud,
) -> None:
    clip = str(SAMPLES / "pedestrians.avi")
    done = embedded_cloud.visionstack("stream", clip, "--limit", "30")
    assert done.returncode == 0, done.stderr

    names = shown(embedded_cloud)

    assert {StreamMetric.FRAMES_PER_SECOND, StreamMetric.ENGINE_BUSY_SHARE} < names
    until(
        lambda: all(points(embedded_cloud, name) for name in names),
        message=f"not published: {[n for n in names if not points(embedded_cloud, n)]}",
    )
    best = {name: max(p["Maximum"] for p in points(embedded_cloud, name)) for name in names}
    assert best[StreamMetric.FRAMES_PER_SECOND] > 0
    assert 0 < best[StreamMetric.ENGINE_BUSY_SHARE] <= 1
    assert best[StreamMetric.BATCH_SIZE] >= 1
    assert best[StreamMetric.LATENCY_P99_MILLISECONDS] > 0


def test_every_alarm_watches_a_metric_of_the_dashboard(
    embedded_cloud: EmbeddedCloud,
) -> None:
    client = embedded_cloud.deployment.client("cloudwatch")
    alarms = [
        alarm
        for alarm in client.describe_alarms()["MetricAlarms"]
        if alarm.get("Namespace") == StreamMetric.NAMESPACE
    ]

    names = shown(embedded_cloud)

    # A server that did not boot belongs to no group yet: counted in the boot log, by no dimension.
    boots = [alarm["MetricName"] for alarm in alarms if not alarm["Dimensions"]]
    assert boots == ["FailedBoots-visionstack"]
    alarms = [alarm for alarm in alarms if alarm["Dimensions"]]
    assert len(alarms) >= 3
    for alarm in alarms:
        assert alarm["MetricName"] in names
        assert alarm["Dimensions"] == [
            {"Name": StreamMetric.GROUP_DIMENSION, "Value": group(embedded_cloud)}
        ]


def test_the_servers_log_lines_reach_its_log_group(embedded_cloud: EmbeddedCloud) -> None:
    instance = next(
        one
        for one in Fleet.read(embedded_cloud.folder).instances
        if one.group == group(embedded_cloud)
    )
    settings = embedded_cloud.folder.instances / instance.id / "root" / "stream.env"
    values = dict(line.split("=", 1) for line in settings.read_text().splitlines() if "=" in line)
    name = values[Env.STREAM_LOG_GROUP].strip("'\"")
    client = embedded_cloud.deployment.client("logs")

    def messages() -> list[str]:
        events = client.filter_log_events(logGroupName=name)["events"]
        return [json.loads(event["message"])["message"] for event in events]

    until(lambda: "listening" in messages(), message=f"no log line in {name}")


def test_the_drain_hook_is_there_and_its_completion_is_taken(
    embedded_cloud: EmbeddedCloud,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    client = embedded_cloud.deployment.client("autoscaling")
    hooks = client.describe_lifecycle_hooks(AutoScalingGroupName=group(embedded_cloud))
    (hook,) = hooks["LifecycleHooks"]
    assert hook["LifecycleHookName"] == STREAM_DRAIN_HOOK
    assert hook["LifecycleTransition"] == "autoscaling:EC2_INSTANCE_TERMINATING"
    set_up(monkeypatch, embedded_cloud)

    with caplog.at_level(logging.WARNING, logger="runtime.streaming.host.aws"):
        aws.complete_drain(group(embedded_cloud), "i-0123456789abcdef0")
        assert not caplog.records
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
        aws.complete_drain(group(embedded_cloud), "i-0123456789abcdef0")
        assert [record.message for record in caplog.records] == ["the drain hook was not completed"]


def test_metadata_is_read_by_version_2_and_tells_no_notice_where_there_is_none(
    embedded_cloud: EmbeddedCloud,
) -> None:
    metadata = InstanceMetadata(local_state.endpoint_url(embedded_cloud.port))

    assert str(metadata.get("instance-id")).startswith("i-")
    assert metadata.get("spot/instance-action") is None

    async def wait() -> None:
        await asyncio.wait_for(leaving(metadata, every=0.05), timeout=1)

    with pytest.raises(TimeoutError):
        asyncio.run(wait())


def set_up(monkeypatch: pytest.MonkeyPatch, cloud: EmbeddedCloud) -> None:
    """This process as an instance's server would find AWS."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", local_state.endpoint_url(cloud.port))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", local_state.REGION)
