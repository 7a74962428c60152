"""Who gives way when there are too many: newcomers, heavy streams, parked sessions, log lines."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace

import pytest

from runtime.protocol.errors import DropReason
from runtime.protocol.limits import Limits
from runtime.protocol.messages import Dropped, Encoding, Frame, Ping, Pong
from runtime.streaming.admission import PendingHandshakes, TokenBucket, WaitingBytes
from runtime.streaming.host.logs import SampledLines
from runtime.streaming.origins import refusal
from runtime.streaming.settings import Tls
from tests.unit.streaming.conftest import ServerFactory, picture
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


def test_only_streams_above_their_share_are_held_and_all_are_released_when_it_leaves() -> None:
    waiting: WaitingBytes[str] = WaitingBytes(total=100, each=80)
    assert not waiting.add("light", 10)
    assert waiting.add("heavy", 81) == {"heavy"}
    assert not waiting.add("heavy", 20)
    assert not waiting.held("light")
    assert not waiting.add("heavy", -40)
    assert waiting.add("heavy", -61) == {"heavy"}
    assert not waiting.held("heavy")


def test_a_bucket_allows_a_burst_and_then_its_rate() -> None:
    bucket = TokenBucket(rate=2.0, burst=3)
    assert [bucket.take(10.0) for _ in range(4)] == [True, True, True, False]
    assert [bucket.take(10.5) for _ in range(2)] == [True, False]


def test_lines_of_one_kind_are_sampled_and_those_kept_back_are_counted() -> None:
    sampled = SampledLines(lines=2, seconds=10)

    def line(at: float) -> logging.LogRecord:
        record = logging.LogRecord("one", logging.INFO, "", 0, "refused", None, None)
        record.created = at
        return record

    assert [sampled.filter(line(1.0)) for _ in range(5)] == [True, True, False, False, False]
    later = line(11.0)
    assert sampled.filter(later)
    assert later.suppressed == 3


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
        raw = await RawClient.connect(one.address)
        await raw.hello()
        for sequence in range(6):
            raw.send(Frame(sequence, 0, Encoding.PNG, picture(1)).encode())
        raw.send(Ping(0).encode())
        answers = []
        while not answers or not isinstance(answers[-1], Pong):  # then all frames are taken in
            answers.append(await raw.receive())
        one.server.registry.close_all()
        gate.set()
        while (answer := await raw.receive()) is not None:
            answers.append(answer)
    reasons = [answer.reason for answer in answers if isinstance(answer, Dropped)]
    assert DropReason.GOING_AWAY in reasons
