"""SIGTERM, the group's hook and a spot notice all end in a drain."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import parse_qsl

import pytest

from runtime.contract import STREAM_DRAIN_HOOK
from runtime.protocol.limits import Limits
from runtime.streaming.__main__ import _complete_drain, run
from runtime.streaming.host.instance import InstanceMetadata, Leaving, NotAnInstanceError, leaving
from runtime.streaming.host.metrics import Metrics
from tests.unit.streaming.conftest import TOKEN, make_server, picture
from visionstack.stream.client import AsyncStreamClient, Patience
from visionstack.stream.errors import StreamUnreachableError
from visionstack.stream.types import StreamAddress


class Imds:
    """Instance metadata, version 2: without a session token nothing is told.

    Takes AWS's calls beside it, and keeps their parameters.
    """

    def __init__(self) -> None:
        self.values = {"autoscaling/target-lifecycle-state": "InService", "instance-id": "i-1"}
        self.calls: list[dict[str, str]] = []
        imds = self

        class Handler(BaseHTTPRequestHandler):
            def do_PUT(self) -> None:
                self._answer(200, "the-session")

            def do_GET(self) -> None:
                known = self.headers.get("X-aws-ec2-metadata-token") == "the-session"
                value = imds.values.get(self.path.removeprefix("/latest/meta-data/"))
                self._answer(401 if not known else 404 if value is None else 200, value or "")

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                imds.calls.append(dict(parse_qsl(body)))
                action = imds.calls[-1]["Action"]
                self._answer(200, f"<{action}Response><{action}Result/></{action}Response>")

            def _answer(self, status: int, body: str) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, *args: object) -> None:
                """Quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"
        Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def imds() -> Iterator[Imds]:
    server = Imds()
    yield server
    server.close()


@pytest.fixture
def aws(imds: Imds, monkeypatch: pytest.MonkeyPatch) -> Imds:
    """AWS's own calls of this process go there as well."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", imds.endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    return imds


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        (
            "autoscaling/target-lifecycle-state",
            "Terminated",
            Leaving("the group ends this instance", hook=True),
        ),
        (
            "spot/instance-action",
            '{"action": "terminate"}',
            Leaving("the spot market takes this instance back", hook=False),
        ),
    ],
)
async def test_a_notice_is_seen(imds: Imds, path: str, value: str, expected: Leaving) -> None:
    watching = asyncio.create_task(leaving(InstanceMetadata(imds.endpoint), every=0.02))
    await asyncio.sleep(0.1)
    assert not watching.done()
    imds.values[path] = value
    assert await asyncio.wait_for(watching, timeout=60) == expected


async def test_where_there_is_no_instance_nothing_is_ever_told() -> None:
    metadata = InstanceMetadata("http://127.0.0.1:1")
    with pytest.raises(NotAnInstanceError):
        metadata.get("instance-id")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(leaving(metadata, every=0.01), timeout=0.3)


async def test_sigterm_drains_answers_what_is_under_way_and_ends(tmp_path: Path) -> None:
    server = make_server(tmp_path, limits=replace(Limits(), drain_seconds=5.0))
    running = asyncio.create_task(run(server.settings, server=server))
    while not server.http_port:
        await asyncio.sleep(0.01)
    address = StreamAddress("127.0.0.1", server.port, TOKEN)
    patience = Patience(give_up=0.3, first_delay=0.05, longest_delay=0.1)
    async with AsyncStreamClient(address, policy="lossless", patience=patience) as client:
        for level in range(5):
            await client.send(picture(level))
        os.kill(os.getpid(), signal.SIGTERM)
        answers = [await client.answer() for _ in range(5)]
        assert [answer.sequence for answer in answers] == list(range(5))
        await asyncio.wait_for(running, timeout=60)
        with pytest.raises(StreamUnreachableError):
            await client.answer()


@pytest.mark.parametrize(
    ("path", "value", "completed"),
    [
        (
            "autoscaling/target-lifecycle-state",
            "Terminated",
            {
                "LifecycleHookName": STREAM_DRAIN_HOOK,
                "AutoScalingGroupName": "the-group",
                "InstanceId": "i-1",
                "LifecycleActionResult": "CONTINUE",
            },
        ),
        ("spot/instance-action", '{"action": "terminate"}', None),
    ],
)
async def test_a_notice_drains_completes_the_groups_hook_and_leaves_the_end_to_the_instance(
    aws: Imds, tmp_path: Path, path: str, value: str, completed: dict[str, str] | None
) -> None:
    aws.values[path] = value
    server = make_server(tmp_path, group="the-group", metadata_endpoint=aws.endpoint)
    running = asyncio.create_task(run(server.settings, server=server))
    async with asyncio.timeout(60):
        while server.registry is None or server.registry.draining is None:
            await asyncio.sleep(0.01)
        while completed is not None and not aws.calls:
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.3)
    # To end by itself would have systemd start it again on an instance that is going.
    assert not running.done()
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.wait_for(running, timeout=60)
    expected = [] if completed is None else [completed | {"Action": "CompleteLifecycleAction"}]
    assert [{k: v for k, v in call.items() if k != "Version"} for call in aws.calls] == expected


def test_figures_for_cloudwatch_are_those_since_the_last_time() -> None:
    metrics = Metrics()
    for milliseconds in range(1, 101):
        metrics.answered(model="m", outcome="found", microseconds=milliseconds * 1000)
    metrics.answered(model="m", outcome="dropped", microseconds=0)
    metrics.batch_inferred(model="m", frames=4, microseconds=1000)
    metrics.batch_inferred(model="m", frames=2, microseconds=1000)
    figures = metrics.window.take(frames_waiting=3)
    assert figures["LatencyP99Milliseconds"] == 100
    assert figures["FramesDropped"] == 1
    assert figures["BatchSize"] == 3
    assert figures["FramesWaiting"] == 3
    assert 0 < figures["EngineBusyShare"] <= 1
    again = metrics.window.take(frames_waiting=0)
    assert again["FramesPerSecond"] == again["FramesDropped"] == again["FramesWaiting"] == 0
    assert "LatencyP99Milliseconds" not in again


def test_metadata_that_falls_silent_leaves_the_hook_to_its_time_and_the_server_up(
    caplog: pytest.LogCaptureFixture,
) -> None:
    _complete_drain("the-group", InstanceMetadata("http://127.0.0.1:1"))
    (record,) = caplog.records
    assert record.message == "the drain hook was not completed"


def test_the_published_p99_is_the_latency_that_one_in_a_hundred_exceeds() -> None:
    metrics = Metrics()
    for milliseconds in range(1000, 0, -1):
        metrics.answered(model="m", outcome="found", microseconds=milliseconds * 1000)
    figures = metrics.window.take(frames_waiting=0)
    assert 990 <= figures["LatencyP99Milliseconds"] <= 991
