"""Connections that break, servers that go: a lossless stream loses nothing and repeats nothing."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from runtime.protocol.limits import Limits
from tests.unit.stream.test_hostile_servers import Peer
from tests.unit.streaming.conftest import TOKEN, FakeDetector, FakeSource, ServerFactory, picture
from visionstack.stream.client import AsyncStreamClient, Patience
from visionstack.stream.errors import StreamUnreachableError
from visionstack.stream.types import Answer, DroppedFrame, FailedFrame, StreamAddress, StreamResult

HASTY = Patience(first_delay=0.02, longest_delay=0.2, ping=0.1, silence=0.6, connect=1.0)
ROOT = Path(__file__).resolve().parents[3]


class Cable:
    """A TCP relay that can be cut (bytes stop, nobody is told) or torn (both ends get an error).

    `carried` counts the bytes of both directions.
    """

    def __init__(self, target: StreamAddress) -> None:
        self._target = target
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._writers: list[asyncio.StreamWriter] = []
        self.address = target
        self.carried = 0

    @asynccontextmanager
    async def laid(self) -> AsyncIterator[Cable]:
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        self.address = replace(self._target, host="127.0.0.1", port=port)
        try:
            yield self
        finally:
            self._flowing.set()
            self.tear()
            server.close()

    def cut(self) -> None:
        self._flowing.clear()

    def mend(self) -> None:
        self._flowing.set()

    def tear(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(self._target.host, self._target.port)
        self._writers += [writer, back]
        await asyncio.gather(self._carry(reader, back), self._carry(there, writer))

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(4096):
                await self._flowing.wait()
                self.carried += len(data)
                writer.write(data)
                await writer.drain()
            writer.close()
        except OSError:
            writer.transport.abort()


async def collect(client: AsyncStreamClient, frames: int) -> list[Answer]:
    return [answer async for answer in client.stream(picture(n % 250) for n in range(frames))]


def assert_each_answered_once_in_order(answers: list[Answer], frames: int) -> None:
    assert [answer.sequence for answer in answers] == list(range(frames))
    assert all(isinstance(answer, StreamResult) for answer in answers)
    assert [a.detections[0].class_id for a in answers] == [n % 250 for n in range(frames)]


async def test_a_lossless_stream_survives_a_connection_torn_many_times(
    running: ServerFactory,
) -> None:
    source = FakeSource(FakeDetector(seconds=0.002))
    async with (
        running(source=source) as one,
        Cable(one.address).laid() as cable,
        AsyncStreamClient(cable.address, policy="lossless", patience=HASTY) as client,
    ):
        collecting = asyncio.create_task(collect(client, 400))
        for _ in range(5):
            await asyncio.sleep(0.12)
            cable.tear()
        assert_each_answered_once_in_order(await collecting, 400)
        assert client.counts.connections >= 3
        assert client.server.resumed
        assert len(source.detectors["fake"].batches) == 400


async def test_a_lossless_stream_survives_a_network_that_is_cut_without_a_word(
    running: ServerFactory,
) -> None:
    source = FakeSource(FakeDetector(seconds=0.005))
    async with (
        running(source=source) as one,
        Cable(one.address).laid() as cable,
        AsyncStreamClient(cable.address, policy="lossless", patience=HASTY) as client,
    ):
        collecting = asyncio.create_task(collect(client, 150))
        await asyncio.sleep(0.2)
        cable.cut()
        # Longer than the client's patience with silence: it connects anew, into the cut.
        await asyncio.sleep(5)
        cable.mend()
        assert_each_answered_once_in_order(await collecting, 150)
        assert client.counts.connections >= 2


async def test_a_live_stream_counts_what_a_torn_connection_cost_and_goes_on(
    running: ServerFactory,
) -> None:
    source = FakeSource()
    gate = source.detectors["fake"].gate
    async with (
        running(source=source) as one,
        Cable(one.address).laid() as cable,
        AsyncStreamClient(cable.address, patience=HASTY) as client,
    ):
        gate.clear()
        for level in range(3):
            await client.send(picture(level))
        await asyncio.sleep(0.02)
        cable.tear()
        await asyncio.sleep(0.3)
        gate.set()
        last = await client.send(picture(9))
        answers = []
        while not answers or answers[-1].sequence != last:
            answers.append(await client.answer())
    lost = [a for a in answers if isinstance(a, DroppedFrame) and a.where == "connection"]
    assert lost
    assert isinstance(answers[-1], StreamResult)
    assert sorted(a.sequence for a in answers) == list(range(last + 1))


async def test_a_session_nobody_comes_back_for_is_forgotten(running: ServerFactory) -> None:
    limits = replace(Limits(), resume_seconds=0.2, drain_seconds=1)
    async with running(limits=limits) as one, Cable(one.address).laid() as cable:
        client = AsyncStreamClient(cable.address, policy="lossless", patience=HASTY)
        await client.connect()
        await client.detect(picture(1))
        sessions = one.server.metrics.sessions
        assert sessions._value.get() == 1
        client._keeper.cancel()
        cable.tear()
        for _ in range(100):
            await asyncio.sleep(0.02)
            if sessions._value.get() == 0:
                break
        assert sessions._value.get() == 0
        await client.close()


async def test_on_goaway_the_client_moves_to_the_other_server_by_itself(
    running: ServerFactory,
) -> None:
    slow = FakeSource(FakeDetector(seconds=0.003))
    async with running(source=slow) as one, running() as other:
        client = AsyncStreamClient([one.address, other.address], policy="lossless", patience=HASTY)
        async with client:
            collecting = asyncio.create_task(collect(client, 300))
            await asyncio.sleep(0.2)
            await one.server.drain("the test wants it")
            assert not one.server.registry.connections
            assert_each_answered_once_in_order(await collecting, 300)
        answered = len(slow.detectors["fake"].batches)
        assert 0 < answered < 300
        assert len(other.source.detectors["fake"].batches) == 300 - answered


async def test_after_a_server_that_never_answers_the_next_one_is_given_its_time() -> None:
    asked: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
    server = await asyncio.start_server(
        lambda reader, writer: asked.put_nowait((reader, writer)), "127.0.0.1", 0
    )
    host, port = server.sockets[0].getsockname()
    endpoint = StreamAddress(host, port, TOKEN)
    client = AsyncStreamClient([endpoint] * 2, patience=replace(HASTY, connect=1.0, begin=30.0))
    connecting = asyncio.create_task(client.connect())
    async with asyncio.timeout(60):
        _, first_writer = await asked.get()
        second, second_writer = await asked.get()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(second.read(), timeout=0.3)
    connecting.cancel()
    await client.close()
    first_writer.close()
    second_writer.close()
    server.close()


async def test_a_draining_server_takes_no_new_streams(running: ServerFactory) -> None:
    async with running() as one, running() as other:
        draining = asyncio.create_task(one.server.drain("the test wants it"))
        await asyncio.sleep(0)
        client = AsyncStreamClient([one.address, other.address], patience=HASTY)
        async with client:
            assert (await client.detect(picture(4))).detections
        await draining
        assert other.source.detectors["fake"].batches
        assert not one.source.detectors["fake"].batches


SERVER_PROGRAM = """
import asyncio, sys
from pathlib import Path
from tests.unit.streaming.conftest import FakeDetector, FakeSource, make_server
from runtime.contract import Tls

async def main():
    source = FakeSource(FakeDetector(seconds=0.004))
    server = make_server(Path("."), source=source, tls=Tls.SELF_SIGNED)
    await server.start()
    print(server.port, server.fingerprint, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.fixture
def killable() -> Iterator[list[tuple[subprocess.Popen[str], StreamAddress]]]:
    """Two servers in processes of their own."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", SERVER_PROGRAM],
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        for _ in range(2)
    ]
    servers = []
    for process in processes:
        assert process.stdout is not None
        port, fingerprint = process.stdout.readline().split()
        servers.append((process, StreamAddress("127.0.0.1", int(port), TOKEN, fingerprint)))
    yield servers
    for process in processes:
        process.kill()
        process.wait()


async def test_a_server_killed_in_mid_stream_is_replaced_by_the_other_and_no_frame_is_lost(
    killable: list[tuple[subprocess.Popen[str], StreamAddress]],
) -> None:
    (first, first_address), (_, second_address) = killable
    client = AsyncStreamClient([first_address, second_address], policy="lossless", patience=HASTY)
    async with client:
        collecting = asyncio.create_task(collect(client, 300))
        await asyncio.sleep(0.4)
        first.send_signal(signal.SIGKILL)
        answers = await collecting
    assert_each_answered_once_in_order(answers, 300)
    assert client.counts.connections >= 2


async def test_after_a_frame_that_ended_three_servers_a_real_one_takes_those_behind_it(
    running: ServerFactory,
) -> None:
    lost = 0

    class DeadlyAtFirst(Cable):
        async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal lost
            if lost == 3:
                await super()._accept(reader, writer)
                return
            lost += 1
            server = Peer(reader, writer)
            await server.welcome()
            await server.frame()
            writer.close()

    async with (
        running() as one,
        DeadlyAtFirst(one.address).laid() as cable,
        AsyncStreamClient(cable.address, policy="lossless", patience=HASTY) as client,
        asyncio.timeout(60),
    ):
        failed, *answers = await collect(client, 5)
        assert isinstance(failed, FailedFrame)
        assert (failed.sequence, failed.code) == (0, "server_lost")
        assert [(one.sequence, one.detections[0].class_id) for one in answers] == [
            (n, n) for n in range(1, 5)
        ]


async def test_delays_between_tries_grow_and_are_spread() -> None:
    accepted: list[float] = []

    def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted.append(time.monotonic())
        writer.transport.abort()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    patience = Patience(begin=1.5, first_delay=0.02, longest_delay=0.3, connect=0.5)
    client = AsyncStreamClient(StreamAddress("127.0.0.1", port, TOKEN), patience=patience)
    with pytest.raises(Exception, match="No stream server answers"):
        await client.connect()
    server.close()
    assert 5 <= len(accepted) <= 60


async def test_when_the_last_server_is_gone_what_was_answered_can_still_be_read(
    running: ServerFactory,
) -> None:
    patience = Patience(give_up=0.2, first_delay=0.02, longest_delay=0.05)
    async with running() as one:
        client = AsyncStreamClient(one.address, policy="lossless", patience=patience)
        await client.connect()
        for level in range(3):
            await client.send(picture(level))
        while client.counts.results < 3:
            await asyncio.sleep(0.01)

    async def send_until_it_ends() -> None:
        for level in range(100):
            await client.send(picture(level))

    with pytest.raises(StreamUnreachableError):
        await send_until_it_ends()
    assert [(await client.answer()).sequence for _ in range(3)] == [0, 1, 2]
    with pytest.raises(StreamUnreachableError):
        await client.answer()
    await client.close()
