"""An engine that fails for good is told from a frame that makes it fail, and the process ends."""

from __future__ import annotations

import asyncio
import gc
from pathlib import Path

import pytest

from runtime.streaming import server as server_module
from runtime.streaming.__main__ import run
from runtime.streaming.errors import EngineBrokenError
from tests.unit.streaming.conftest import (
    TOKEN,
    FakeDetector,
    FakeSource,
    ServerFactory,
    make_server,
    picture,
)
from visionstack.stream.client import AsyncStreamClient, Patience
from visionstack.stream.types import FailedFrame, StreamAddress, StreamResult


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "_PROBE_SECONDS", 0.05)


async def test_frames_that_make_the_engine_fail_leave_the_server_up(
    running: ServerFactory,
) -> None:
    source = FakeSource(FakeDetector(poison=77))
    async with (
        running(source=source) as one,
        AsyncStreamClient(one.address, policy="lossless") as client,
    ):
        answers = [a async for a in client.stream(picture(77) for _ in range(20))]
        async with asyncio.timeout(60):
            while len(source.detectors["fake"].batches) <= 20:
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.2)
        assert all(isinstance(answer, FailedFrame) for answer in answers)
        assert not one.server.broken.is_set()
        assert one.server._readyz()[0] == 200
        failures = one.server.metrics.exposition().decode()
        assert 'visionstack_stream_engine_failures_total{model="fake"} 20.0' in failures


async def test_a_broken_engine_ends_the_process_and_its_clients_move_on(
    running: ServerFactory, tmp_path: Path
) -> None:
    detector = FakeDetector(seconds=0.005)
    server = make_server(tmp_path, source=FakeSource(detector))
    serving = asyncio.create_task(run(server.settings, server=server))
    while not server.http_port:
        await asyncio.sleep(0.01)
    async with running() as other:
        addresses = [StreamAddress("127.0.0.1", server.port, TOKEN), other.address]
        patience = Patience(first_delay=0.02, longest_delay=0.2)
        async with AsyncStreamClient(addresses, policy="lossless", patience=patience) as client:
            answers = []
            async for answer in client.stream(picture(n % 250) for n in range(300)):
                answers.append(answer)
                detector.dead = len(answers) > 20
        with pytest.raises(EngineBrokenError):
            await asyncio.wait_for(serving, timeout=60)
    assert server._readyz()[0] == 503
    assert [answer.sequence for answer in answers] == list(range(300))
    failed = [answer.sequence for answer in answers if isinstance(answer, FailedFrame)]
    assert failed == list(range(failed[0], failed[-1] + 1))
    assert len(failed) < 250
    assert isinstance(answers[-1], StreamResult)


async def test_what_a_server_has_loaded_is_left_alone_by_the_collector(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exempt = asyncio.Event()
    monkeypatch.setattr(gc, "freeze", exempt.set)
    server = make_server(tmp_path)
    serving = asyncio.create_task(run(server.settings, server=server))
    await asyncio.wait_for(exempt.wait(), timeout=60)
    server.broken.set()
    with pytest.raises(EngineBrokenError):
        await asyncio.wait_for(serving, timeout=60)
