"""Who gives way when there are too many: newcomers, heavy streams, parked sessions, log lines."""

from __future__ import annotations

import asyncio
import gc
import itertools
import logging
import socket
import time
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from runtime.contract import Tls
from runtime.protocol import messages
from runtime.protocol.errors import DropReason
from runtime.protocol.framing import LengthPrefixed
from runtime.protocol.limits import Limits
from runtime.protocol.messages import Dropped, Encoding, Frame, Hello, Result, Welcome
from runtime.protocol.options import HelloOptions
from runtime.streaming.host.logs import SampledLines
from runtime.streaming.sessions.admission import PendingHandshakes, TokenBucket, WaitingBytes
from runtime.streaming.transports.origins import refusal
from tests.unit.streaming.conftest import TOKEN, ServerFactory, picture
from tests.unit.streaming.test_faults import RawClient, others_are_served


def test_the_oldest_handshake_of_the_address_with_the_most_gives_way() -> None:
    ended: list[str] = []
    pending = PendingHandshakes(limit=3, per_address=2)
    for key, address in (("a", "one"), ("b", "two"), ("c", "two"), ("d", "three")):
        pending.enter(key, address=address, evict=lambda key=key: ended.append(key))
    assert ended == ["b"]
    pending.enter("e", address="two", evict=lambda: None)
    assert ended == ["b", "c"]
    pending.leave("a")
    pending.leave("a")
    assert len(pending) == 2


def test_of_too_many_handshakes_of_one_address_its_oldest_gives_way() -> None:
    ended: list[str] = []
    pending = PendingHandshakes(limit=9, per_address=2)
    for key, address in (("a", "one"), ("b", "two"), ("c", "two"), ("d", "two")):
        pending.enter(key, address=address, evict=lambda key=key: ended.append(key))
    assert ended == ["b"]
    assert len(pending) == 3


def test_only_streams_above_their_share_are_held_and_all_are_released_when_it_leaves() -> None:
    waiting: WaitingBytes[str] = WaitingBytes(total=200, each=80, streams=5)
    assert not waiting.add("light", 10)
    assert waiting.add("heavy", 81) == {"heavy"}
    assert not waiting.add("heavy", 20)
    assert not waiting.held("light")
    assert not waiting.add("heavy", -40)
    assert waiting.add("heavy", -52) == {"heavy"}
    assert not waiting.held("heavy")


def test_when_half_is_full_all_are_held_but_those_with_a_light_share() -> None:
    waiting: WaitingBytes[str] = WaitingBytes(total=200, each=80, streams=5)
    for stream in "abc":
        assert not waiting.add(stream, 33)
    assert waiting.add("d", 20) == {"a", "b", "c"}
    assert waiting.add("d", 1) == {"d"}
    assert waiting.sum == 120


def test_of_streams_held_with_parts_alone_one_goes_on_until_its_frame_is_whole() -> None:
    waiting: WaitingBytes[str] = WaitingBytes(total=200, each=80, streams=5)
    waiting.arriving("first", 50)
    waiting.add("whole", 30)
    changed = waiting.arriving("second", 40)
    assert changed == {"whole", "second"}
    assert not waiting.arriving("first", 60)
    # Its frame is whole: it waits for the answer, and the second may go on.
    assert waiting.add("first", 70) == {"first", "second"}
    assert waiting.arriving("first", 0) == set()
    assert waiting.held("first")
    assert not waiting.held("second")
    assert waiting.arriving("second", 0) == set()
    assert waiting.add("first", -70) == {"first", "whole"}
    assert waiting.sum == 30


def frame_to_come(sequence: int) -> bytes:
    """A frame of 1.5 MiB."""
    return Frame(sequence, 0, Encoding.BGR, bytes(2**19 * 3), 1024, 512).encode()


async def test_parts_of_frames_count_and_all_streams_get_on_in_the_end(
    running: ServerFactory,
) -> None:
    limits = replace(Limits(), waiting_bytes=4 * 2**20, drain_seconds=1.0)
    async with running(limits=limits) as one:
        clients = [await RawClient.connect(one.address) for _ in range(12)]
        for client in clients:
            await client.hello(policy="lossless")
            message = LengthPrefixed().wrap(frame_to_come(0))
            client.writer.write(message[:-1])
        waiting = one.server.registry._waiting
        async with asyncio.timeout(60):
            while not waiting._held:
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.3)
        assert 2 * 2**20 < waiting.sum < 6 * 2**20
        assert await others_are_served(one.address)
        for client in clients:
            client.writer.write(b"\0")
        for answer in await asyncio.gather(*(client.receive() for client in clients)):
            assert isinstance(answer, Result)
        assert waiting.sum == 0


async def test_parts_of_frames_count_over_websocket_too(running: ServerFactory) -> None:
    limits = replace(Limits(), waiting_bytes=4 * 2**20, drain_seconds=1.0)
    async with running(limits=limits) as one:
        url = f"ws://127.0.0.1:{one.server.http_port}/stream"
        sockets = [await connect(url, compression=None) for _ in range(12)]
        for socket in sockets:
            await socket.send(Hello(HelloOptions(token=TOKEN, policy="lossless")).encode())
            assert isinstance(messages.decode(await socket.recv()), Welcome)

        async def pieces(message: bytes) -> AsyncIterator[bytes]:
            for at in range(0, len(message), 2**18):
                if at > 2**20:
                    await go_on.wait()
                yield message[at : at + 2**18]

        go_on = asyncio.Event()
        sending = [asyncio.create_task(s.send(pieces(frame_to_come(0)))) for s in sockets]
        waiting = one.server.registry._waiting
        async with asyncio.timeout(60):
            while not waiting._held:
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.3)
        assert 2 * 2**20 < waiting.sum < 6 * 2**20
        go_on.set()
        for socket in sockets:
            async with asyncio.timeout(60):
                assert isinstance(messages.decode(await socket.recv()), Result)
        await asyncio.gather(*sending, *(socket.close() for socket in sockets))
        assert waiting.sum == 0


async def test_an_answer_that_is_kept_does_not_keep_its_picture(running: ServerFactory) -> None:
    async with running() as one:
        client = await RawClient.connect(one.address)
        await client.hello(policy="lossless")
        for sequence in range(8):
            client.send(frame_to_come(sequence))
            assert isinstance(await client.receive(), Result)
        alive = gc.get_objects()
        # The answers are there to be replayed; tests have small frames of their own.
        assert len([thing for thing in alive if type(thing) is Result]) >= 8
        frames = [thing for thing in alive if type(thing) is Frame]
        assert not [frame for frame in frames if len(frame.payload) > 2**20]


def test_a_bucket_allows_a_burst_and_then_its_rate() -> None:
    bucket = TokenBucket(rate=2.0, burst=3)
    assert [bucket.take(10.0) for _ in range(4)] == [True, True, True, False]
    assert [bucket.take(10.5) for _ in range(2)] == [True, False]


def test_lines_of_one_kind_are_sampled_and_those_kept_back_are_counted() -> None:
    now = 1.0
    sampled = SampledLines(lines=2, seconds=10, clock=lambda: now)
    assert [sampled.filter(refused_line()) for _ in range(5)] == [True, True, False, False, False]
    now = 11.0
    later = refused_line()
    assert sampled.filter(later)
    assert later.suppressed == 3


def test_lines_are_not_kept_back_when_the_wall_clock_is_set_back() -> None:
    now = 1.0
    sampled = SampledLines(lines=2, seconds=10, clock=lambda: now)
    for _ in range(5):
        sampled.filter(refused_line())
    now = 11.0
    assert sampled.filter(refused_line(created=time.time() - 86_400))


def refused_line(*, created: float | None = None) -> logging.LogRecord:
    record = logging.LogRecord("one", logging.INFO, "", 0, "refused", None, None)
    record.created = record.created if created is None else created
    return record


@pytest.mark.parametrize(
    ("host", "origin", "loopback", "allowed"),
    [
        ("localhost:8443", None, True, True),
        ("127.0.0.1:8443", "http://127.0.0.1:8443", True, True),
        ("[::1]:8443", "http://[::1]:8443", True, True),
        ("evil.example:8443", "http://evil.example:8443", True, False),
        ("localhost:8443", "http://localhost:3000", True, False),
        ("localhost:8443", "null", True, False),
        ("10.0.0.7:8443", None, False, True),
        ("vision.example", "https://vision.example:443", False, True),
        ("vision.example", "https://evil.example", False, False),
        ("vision.example", "https://vision.example:port", False, False),
    ],
)
def test_only_the_servers_own_pages_may_speak_to_it(
    host: str, origin: str | None, loopback: bool, allowed: bool
) -> None:
    wrong = refusal(host=[host], origin=[origin] if origin else [], loopback=loopback)
    assert (wrong is None) is allowed


@pytest.mark.parametrize("port", ["port", "http_port"])
async def test_connections_that_never_begin_tls_are_pending_too(
    running: ServerFactory, port: str
) -> None:
    limits = replace(Limits(), pending_handshakes=8, pending_per_address=8, drain_seconds=1.0)
    async with running(tls=Tls.SELF_SIGNED, limits=limits) as one:
        idle = [
            await asyncio.open_connection("127.0.0.1", getattr(one.server, port)) for _ in range(20)
        ]
        ended = [asyncio.create_task(reader.read()) for reader, _ in idle[:12]]
        # Long before their time for the handshake is over.
        done, _ = await asyncio.wait(ended, timeout=limits.crowded_handshake_seconds / 2)
        assert len(done) == 12
        await asyncio.gather(*ended, return_exceptions=True)
        assert await others_are_served(one.address)
        for _, writer in idle:
            writer.transport.abort()
        while len(one.server.registry.pending):
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("port", ["port", "http_port"])
async def test_of_many_connections_few_are_taken_at_once_and_none_is_turned_away(
    running: ServerFactory, port: str
) -> None:
    async with running() as one:
        # The loop stands still meanwhile, so that the kernel has to keep all of them.
        waiting = [
            socket.create_connection(("127.0.0.1", getattr(one.server, port)), timeout=0.5)
            for _ in range(60)
        ]
        seen = []
        while not seen or seen[-1] < 60:
            seen.append(len(one.server.registry.pending))
            await asyncio.sleep(0)
        assert max(after - before for before, after in itertools.pairwise(seen)) <= 8
        for each in waiting:
            each.close()


def test_for_want_of_descriptors_the_older_half_of_the_handshakes_ends() -> None:
    ended: list[str] = []
    pending = PendingHandshakes(limit=9, per_address=9)
    for key in "abc":
        pending.enter(key, address=key, evict=lambda key=key: ended.append(key))
    assert pending.make_room() == 2
    assert ended == ["a", "b"]
    assert len(pending) == 1
    assert pending.make_room() == 1
    assert pending.make_room() == 0


async def test_a_parked_stream_gives_way_to_one_that_is_here(running: ServerFactory) -> None:
    async with running(limits=replace(Limits(), sessions=1, drain_seconds=1.0)) as one:
        first = await RawClient.connect(one.address)
        await first.hello(policy="lossless")
        first.writer.transport.abort()
        while one.server.registry.connections:
            await asyncio.sleep(0.01)
        second = await RawClient.connect(one.address)
        assert not (await second.hello()).offer.resumed


async def test_frames_of_a_live_stream_that_a_stopping_server_leaves_are_reported(
    running: ServerFactory,
) -> None:
    async with running() as one:
        gate = one.source.detectors["fake"].gate
        gate.clear()

        def waiting() -> int:
            return one.server._pipeline.frames_waiting

        raw = await RawClient.connect(one.address)
        await raw.hello()
        sent = steady = 0
        async with asyncio.timeout(60):
            # One is at the engine, one is decoded. One that is being decoded cannot be taken back.
            while steady < 5:
                steady += 1
                if not waiting():
                    raw.send(Frame(sent, 0, Encoding.PNG, picture(1)).encode())
                    sent, steady = sent + 1, 0
                await asyncio.sleep(0.02)
        answers = []
        one.server.registry.close_all()
        gate.set()
        while (answer := await raw.receive()) is not None:
            answers.append(answer)
    reasons = [answer.reason for answer in answers if isinstance(answer, Dropped)]
    assert DropReason.GOING_AWAY in reasons


async def test_a_full_server_answers_a_websocket_with_503(running: ServerFactory) -> None:
    async with running(limits=replace(Limits(), connections=1, drain_seconds=1.0)) as one:
        first = await RawClient.connect(one.address)
        await first.hello()
        with pytest.raises(InvalidStatus) as refused:
            await connect(f"ws://127.0.0.1:{one.server.http_port}/stream")
        assert refused.value.response.status_code == 503
        first.writer.transport.abort()
        while one.server.registry.connections:
            await asyncio.sleep(0.01)
        await (await connect(f"ws://127.0.0.1:{one.server.http_port}/stream")).close()


async def test_no_clock_runs_while_the_server_itself_does_not_read(running: ServerFactory) -> None:
    limits = replace(
        Limits(), waiting_bytes=4 * 2**20, idle_seconds=0.5, message_seconds=0.5, drain_seconds=1.0
    )
    async with running(limits=limits) as one:
        gate = one.source.detectors["fake"].gate
        gate.clear()
        client = await RawClient.connect(one.address)
        await client.hello(policy="lossless")
        for sequence in range(8):
            client.send(frame_to_come(sequence))
        await asyncio.sleep(1.5)
        assert one.server.registry._waiting._held
        gate.set()
        for sequence in range(8):
            answer = await client.receive()
            assert isinstance(answer, Result)
            assert answer.sequence == sequence
