"""A server whose model is not published yet listens, says so, and serves when it is there."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from pathlib import Path

import pytest

from runtime.inference.store import Current
from runtime.streaming import models
from runtime.streaming.__main__ import run
from runtime.streaming.errors import ModelUnavailableError
from runtime.streaming.host import aws
from runtime.streaming.host.instance import InstanceMetadata
from runtime.streaming.models import LoadedModel
from runtime.streaming.server import Server
from tests.unit.streaming.conftest import TOKEN, FakeSource, make_server, picture
from visionstack.packaging.recipes import INSTANCE_FILES
from visionstack.stream.client import AsyncStreamClient, Patience
from visionstack.stream.errors import StreamUnreachableError
from visionstack.stream.types import StreamAddress


class Unpublished(FakeSource):
    """A bucket that the model is not in until `published`."""

    published = False
    asked = 0

    def wanted(self, name: str) -> Current:
        self.asked += 1
        if not self.published:
            raise ModelUnavailableError(f"{name} does not exist; publish the model first.")
        return super().wanted(name)


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "FIRST_WAIT_SECONDS", 0.01)
    monkeypatch.setattr(models, "LONGEST_WAIT_SECONDS", 0.02)


async def get(server: Server, path: str) -> tuple[int, str]:
    """Status and body of a GET on the server's HTTP port."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.http_port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
    answer = (await reader.read()).decode()
    writer.close()
    return int(answer.split()[1]), answer.partition("\r\n\r\n")[2]


async def listening(server: Server) -> None:
    async with asyncio.timeout(60):
        while not server.http_port:
            await asyncio.sleep(0.01)


async def test_it_waits_says_so_and_serves_when_the_model_is_published(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = Unpublished()
    server = make_server(tmp_path, source=source, bucket="artifacts")
    address: StreamAddress | None = None
    with caplog.at_level(logging.INFO, logger="runtime.streaming"):
        serving = asyncio.create_task(run(server.settings, server=server))
        await listening(server)
        address = StreamAddress("127.0.0.1", server.port, TOKEN)
        async with asyncio.timeout(60):
            while source.asked < 6:
                await asyncio.sleep(0.01)
        status, body = await get(server, "/readyz")
        assert status == 503
        assert "fake does not exist; publish the model first" in body
        assert (await get(server, "/healthz"))[0] == 200
        # A group that replaced it would get another one that waits.
        assert await get(server, "/in-service") == (200, body)
        with pytest.raises(StreamUnreachableError, match="model"):
            async with AsyncStreamClient(
                address, patience=Patience(give_up=0.2, first_delay=0.05, longest_delay=0.1)
            ):
                pass
        waits = [one for one in caplog.records if one.getMessage() == "waiting for a model"]
        assert len(waits) == 1  # the same reason again and again would flood the log
        source.published = True
        async with AsyncStreamClient(
            address, policy="lossless", patience=Patience(first_delay=0.05, longest_delay=0.1)
        ) as client:
            assert (await client.detect(picture(7))).detections
        assert (await get(server, "/readyz"))[0] == 200
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.wait_for(serving, timeout=60)


async def test_a_server_that_still_loads_or_drains_is_not_in_service(tmp_path: Path) -> None:
    server = make_server(tmp_path, source=Unpublished(), bucket="artifacts")
    starting = asyncio.create_task(server.start())
    await listening(server)
    # Or its next look for the model would say again that it waits.
    starting.cancel()
    await asyncio.gather(starting, return_exceptions=True)
    server._waits_for_model = False
    assert (await get(server, "/in-service"))[0] == 503
    server._waits_for_model = True
    assert (await get(server, "/in-service"))[0] == 200
    await server.drain("a test")
    assert (await get(server, "/in-service"))[0] == 503
    await server.stop()


async def test_the_deployment_hears_of_a_server_that_listens_without_its_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[str, ...]] = []
    monkeypatch.setattr(aws, "signal_listening", lambda *words: told.append(words))
    monkeypatch.setattr(InstanceMetadata, "get", lambda self, path: f"the {path}")
    server = make_server(
        tmp_path,
        source=Unpublished(),
        bucket="artifacts",
        stack="a-stack",
        stack_resource="its-group",
    )
    serving = asyncio.create_task(run(server.settings, server=server))
    async with asyncio.timeout(60):
        while not told:
            await asyncio.sleep(0.01)
    assert told == [("a-stack", "its-group", "the instance-id")]
    assert (await get(server, "/readyz"))[0] == 503
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.wait_for(serving, timeout=60)
    assert len(told) == 1


async def test_a_version_that_cannot_be_loaded_is_waited_out_too(tmp_path: Path) -> None:
    source = FakeSource()
    source.broken["1"] = "weights.onnx is damaged"
    server = make_server(tmp_path, source=source, bucket="artifacts")
    starting = asyncio.create_task(server.start())
    await listening(server)
    async with asyncio.timeout(60):
        while len(source.loads) < 3:
            await asyncio.sleep(0.01)
    assert "weights.onnx is damaged" in (await get(server, "/readyz"))[1]
    source.versions["fake"] = "2"
    await asyncio.wait_for(starting, timeout=60)
    assert server.hosts["fake"].current.offer.version == "2"
    await server.stop()


async def test_sigterm_ends_the_wait(tmp_path: Path) -> None:
    server = make_server(tmp_path, source=Unpublished(), bucket="artifacts")
    serving = asyncio.create_task(run(server.settings, server=server))
    await listening(server)
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.wait_for(serving, timeout=60)


async def test_what_no_wait_can_mend_ends_the_server(tmp_path: Path) -> None:
    class Odd(FakeSource):
        def load(self, name: str, version: str) -> LoadedModel:
            raise MemoryError

    server = make_server(tmp_path, source=Odd(), bucket="artifacts")
    with pytest.raises(MemoryError):
        await asyncio.wait_for(run(server.settings, server=server), timeout=60)


async def test_on_the_desk_a_model_that_is_not_there_is_an_error_at_once(tmp_path: Path) -> None:
    server = make_server(tmp_path, source=Unpublished())
    with pytest.raises(ModelUnavailableError, match="publish the model first"):
        await asyncio.wait_for(server.start(), timeout=60)


def test_systemd_never_gives_the_server_up() -> None:
    lines = (INSTANCE_FILES / "visionstack-stream.service").read_text().splitlines()
    assert "StartLimitIntervalSec=0" in lines
