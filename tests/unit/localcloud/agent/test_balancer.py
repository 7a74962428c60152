"""The forwarder passes bytes, ends and resets on, and holds back whoever outruns the other end."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest

from visionstack.localcloud.agent.balancer import Balancer

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Backend:
    """A server whose connections a test takes one by one."""

    def __init__(self) -> None:
        self.accepted: asyncio.Queue[Streams] = asyncio.Queue()
        self.port = 0

    async def accept(self) -> Streams:
        async with asyncio.timeout(60):
            return await self.accepted.get()


@pytest.fixture
async def backend() -> AsyncIterator[Backend]:
    made = Backend()
    server = await asyncio.start_server(
        lambda reader, writer: made.accepted.put_nowait((reader, writer)), "127.0.0.1", 0
    )
    made.port = server.sockets[0].getsockname()[1]
    yield made
    server.close()


@pytest.fixture
async def targets(backend: Backend) -> list[int]:
    return [backend.port]


@pytest.fixture
async def balancer(targets: list[int]) -> AsyncIterator[Balancer]:
    made = Balancer(lambda: targets)
    await made.start()
    yield made
    made.close()


async def _client(balancer: Balancer) -> Streams:
    return await asyncio.open_connection("127.0.0.1", balancer.port)


async def test_bytes_go_both_ways(balancer: Balancer, backend: Backend) -> None:
    reader, writer = await _client(balancer)
    far_reader, far_writer = await backend.accept()

    writer.write(b"frame")
    assert await far_reader.readexactly(5) == b"frame"
    far_writer.write(b"result")
    assert await reader.readexactly(6) == b"result"


async def test_what_is_sent_before_the_server_was_reached_is_not_lost(
    balancer: Balancer, backend: Backend
) -> None:
    payload = bytes(range(256)) * 2_000
    _, writer = await _client(balancer)
    writer.write(payload)

    far_reader, _ = await backend.accept()

    assert await far_reader.readexactly(len(payload)) == payload


async def test_the_end_of_one_direction_leaves_the_other_open(
    balancer: Balancer, backend: Backend
) -> None:
    reader, writer = await _client(balancer)
    far_reader, far_writer = await backend.accept()

    writer.write_eof()
    assert await far_reader.read() == b""
    far_writer.write(b"late")
    far_writer.close()

    assert await reader.read() == b"late"


async def test_a_server_that_is_gone_ends_its_clients_connections(
    balancer: Balancer, backend: Backend
) -> None:
    reader, _ = await _client(balancer)
    _, far_writer = await backend.accept()

    far_writer.transport.abort()

    assert await asyncio.wait_for(reader.read(), 60) == b""


async def test_without_a_healthy_server_a_connection_is_cut(
    balancer: Balancer, targets: list[int]
) -> None:
    targets.clear()

    reader, _ = await _client(balancer)

    assert await asyncio.wait_for(reader.read(), 60) == b""


async def test_a_server_that_does_not_answer_is_passed_over(
    balancer: Balancer, targets: list[int], backend: Backend
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        targets[:] = [closed.getsockname()[1], backend.port]
        for _ in range(2):
            _, writer = await _client(balancer)
            writer.write(b"x")
            far_reader, _ = await backend.accept()
            assert await far_reader.readexactly(1) == b"x"


async def test_a_server_that_stops_reading_stops_its_client(
    balancer: Balancer, backend: Backend
) -> None:
    _, writer = await _client(balancer)
    far_reader, _ = await backend.accept()
    far_reader._transport.pause_reading()  # type: ignore[attr-defined]
    total = 64 * 1024 * 1024

    sending = asyncio.create_task(_send(writer, total))
    done, _ = await asyncio.wait({sending}, timeout=1)

    assert not done, "64 MiB went somewhere though nobody reads"
    far_reader._transport.resume_reading()  # type: ignore[attr-defined]
    received = 0
    while received < total:
        received += len(await asyncio.wait_for(far_reader.read(1 << 20), 30))
    await sending


async def _send(writer: asyncio.StreamWriter, total: int) -> None:
    chunk = b"x" * (1 << 20)
    for _ in range(total // len(chunk)):
        writer.write(chunk)
        await writer.drain()
