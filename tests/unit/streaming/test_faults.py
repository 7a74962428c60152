"""Clients that misbehave, with raw sockets: each meets its limit, and others do not notice."""

from __future__ import annotations

import asyncio
import struct
import zlib
from dataclasses import replace

import pytest

from runtime.protocol import messages
from runtime.protocol.errors import CloseCode
from runtime.protocol.framing import LengthPrefixed
from runtime.protocol.limits import Limits
from runtime.protocol.messages import (
    Close,
    Encoding,
    Frame,
    FrameFailed,
    Hello,
    Ping,
    Result,
    Welcome,
)
from runtime.protocol.options import HelloOptions
from tests.unit.streaming.conftest import TOKEN, FakeDetector, FakeSource, ServerFactory, picture
from visionstack.stream.client import AsyncStreamClient
from visionstack.stream.types import StreamAddress


class RawClient:
    """Bytes on a socket, with no manners of its own."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self.writer = reader, writer
        self._framing = LengthPrefixed()

    @classmethod
    async def connect(cls, address: StreamAddress) -> RawClient:
        return cls(*await asyncio.open_connection(address.host, address.port))

    async def hello(self, **options: object) -> Welcome:
        self.send(Hello(HelloOptions(token=TOKEN, **options)).encode())
        welcome = await self.receive()
        assert isinstance(welcome, Welcome)
        return welcome

    def send(self, message: bytes) -> None:
        self.writer.write(self._framing.wrap(message))

    async def receive(self) -> object:
        """The next message; None when the connection has ended."""
        async with asyncio.timeout(60):
            while (message := self._framing.next(limit=2**24)) is None:
                data = await self._reader.read(65536)
                if not data:
                    return None
                self._framing.feed(data)
        return messages.decode(message)

    async def close_code(self) -> CloseCode | None:
        """Read until the server's close; None when it just ended."""
        while True:
            message = await self.receive()
            if message is None:
                return None
            if isinstance(message, Close):
                return message.code


async def others_are_served(address: StreamAddress) -> bool:
    async with AsyncStreamClient(address, policy="lossless") as client:
        return (await client.detect(picture(42))).detections[0].class_id == 42


def quick(**limits: object) -> Limits:
    return replace(Limits(), drain_seconds=1.0, **limits)


async def test_garbage_instead_of_a_handshake_ends_the_connection(running: ServerFactory) -> None:
    async with running() as one:
        raw = await RawClient.connect(one.address)
        raw.send(b"\xffgarbage")
        assert await raw.close_code() is CloseCode.PROTOCOL_ERROR
        assert await others_are_served(one.address)


async def test_a_web_browser_on_the_stream_port_is_turned_away(running: ServerFactory) -> None:
    async with running() as one:
        raw = await RawClient.connect(one.address)
        raw.writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert await raw.close_code() is CloseCode.MESSAGE_TOO_LARGE


async def test_garbage_in_mid_stream_ends_only_that_connection(running: ServerFactory) -> None:
    async with running() as one:
        raw = await RawClient.connect(one.address)
        await raw.hello()
        raw.send(b"\x63" + bytes(40))
        assert await raw.close_code() is CloseCode.PROTOCOL_ERROR
        assert await others_are_served(one.address)


async def test_a_frame_before_the_handshake_is_refused(running: ServerFactory) -> None:
    async with running() as one:
        raw = await RawClient.connect(one.address)
        raw.send(Frame(0, 0, Encoding.PNG, picture(1)).encode())
        assert await raw.close_code() is CloseCode.PROTOCOL_ERROR


async def test_a_hello_held_up_on_its_way_does_not_take_the_stream_from_a_later_connection(
    running: ServerFactory,
) -> None:
    async with running() as one:
        first = await RawClient.connect(one.address)
        session = (await first.hello(policy="lossless", connection=1)).offer.session
        # The client lost patience with its second connection and has made a third.
        third = await RawClient.connect(one.address)
        welcome = await third.hello(policy="lossless", session=session, connection=3)
        assert welcome.offer.resumed
        assert await first.close_code() is CloseCode.TAKEN_OVER

        second = await RawClient.connect(one.address)
        options = HelloOptions(token=TOKEN, policy="lossless", session=session, connection=2)
        second.send(Hello(options).encode())
        assert await second.close_code() is CloseCode.TAKEN_OVER
        third.send(Frame(0, 0, Encoding.PNG, picture(7)).encode())
        assert isinstance(await third.receive(), Result)


async def test_an_oversized_frame_is_refused_before_it_is_received(running: ServerFactory) -> None:
    async with running(limits=quick(frame_bytes=1000)) as one:
        raw = await RawClient.connect(one.address)
        await raw.hello()
        raw.writer.write(struct.pack(">I", 2**31))
        assert await raw.close_code() is CloseCode.MESSAGE_TOO_LARGE


async def test_a_decompression_bomb_fails_alone_without_being_decoded(
    running: ServerFactory,
) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    bomb = (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(bytes(1000)))
        + chunk(b"IEND", b"")
    )
    async with running() as one:
        raw = await RawClient.connect(one.address)
        await raw.hello()
        raw.send(Frame(0, 0, Encoding.PNG, bomb).encode())
        answer = await raw.receive()
        assert isinstance(answer, FrameFailed)
        assert answer.code.name == "TOO_MANY_PIXELS"
        raw.send(Frame(1, 0, Encoding.PNG, picture(5)).encode())
        assert isinstance(await raw.receive(), Result)


@pytest.mark.parametrize(("width", "height"), [(65_535, 65_535), (10, 10), (0, 5)])
async def test_raw_pixels_of_another_size_than_announced_fail_alone(
    running: ServerFactory, width: int, height: int
) -> None:
    async with running() as one:
        raw = await RawClient.connect(one.address)
        await raw.hello()
        raw.send(Frame(0, 0, Encoding.BGR, bytes(30), width, height).encode())
        assert isinstance(await raw.receive(), FrameFailed)


async def test_more_frames_than_credits_end_the_connection(running: ServerFactory) -> None:
    source = FakeSource(FakeDetector())
    source.detectors["fake"].gate.clear()
    async with running(source=source, limits=quick(window=2)) as one:
        raw = await RawClient.connect(one.address)
        await raw.hello(policy="lossless")
        for sequence in range(3):
            raw.send(Frame(sequence, 0, Encoding.PNG, picture(1)).encode())
        assert await raw.close_code() is CloseCode.CREDIT_EXCEEDED
        source.detectors["fake"].gate.set()


async def test_a_handshake_that_never_comes_is_ended(running: ServerFactory) -> None:
    async with running(limits=quick(handshake_seconds=0.3)) as one:
        raw = await RawClient.connect(one.address)
        assert await raw.close_code() is CloseCode.HANDSHAKE_TIMEOUT


async def test_a_handshake_of_a_byte_a_moment_is_ended(running: ServerFactory) -> None:
    async with running(limits=quick(handshake_seconds=0.3)) as one:
        raw = await RawClient.connect(one.address)
        drip = LengthPrefixed().wrap(Hello(HelloOptions(token=TOKEN)).encode())

        async def send() -> None:
            for byte in drip:
                raw.writer.write(bytes([byte]))
                await asyncio.sleep(0.05)

        task = asyncio.create_task(send())
        assert await raw.close_code() is CloseCode.HANDSHAKE_TIMEOUT
        task.cancel()


async def test_a_frame_of_a_byte_a_moment_is_ended_though_bytes_keep_coming(
    running: ServerFactory,
) -> None:
    async with running(limits=quick(message_seconds=0.3)) as one:
        raw = await RawClient.connect(one.address)
        await raw.hello()

        async def send() -> None:
            raw.writer.write(struct.pack(">I", 5000) + b"\x10")
            for _ in range(200):
                raw.writer.write(b"\0")
                await asyncio.sleep(0.02)

        task = asyncio.create_task(send())
        assert await raw.close_code() is CloseCode.IDLE_TIMEOUT
        task.cancel()
        assert await others_are_served(one.address)


async def test_a_silent_client_is_ended_and_one_that_pings_is_not(running: ServerFactory) -> None:
    async with running(limits=quick(idle_seconds=1.5)) as one:
        silent, alive = await RawClient.connect(one.address), await RawClient.connect(one.address)
        await silent.hello()
        await alive.hello()

        async def ping() -> None:
            while True:
                alive.send(Ping(0).encode())
                await asyncio.sleep(0.1)

        pinging = asyncio.create_task(ping())
        assert await silent.close_code() is CloseCode.IDLE_TIMEOUT
        await asyncio.sleep(0.3)
        alive.send(Frame(0, 0, Encoding.PNG, picture(5)).encode())
        answers = [await alive.receive()]
        while not isinstance(answers[-1], Result):
            answers.append(await alive.receive())
        pinging.cancel()


async def test_a_flood_of_handshakes_leaves_room_for_others(running: ServerFactory) -> None:
    limits = quick(pending_handshakes=5, crowded_handshake_seconds=0.4)
    async with running(limits=limits) as one:
        flood = [await RawClient.connect(one.address) for _ in range(30)]
        # While they wait: the oldest gives way to whoever comes.
        assert await others_are_served(one.address)
        codes = await asyncio.gather(*(raw.close_code() for raw in flood))
        assert codes.count(CloseCode.TOO_MANY_CONNECTIONS) >= 25
        assert set(codes) == {CloseCode.TOO_MANY_CONNECTIONS, CloseCode.HANDSHAKE_TIMEOUT}
        assert await others_are_served(one.address)


async def test_connections_beyond_the_limit_are_refused_and_told_so(
    running: ServerFactory,
) -> None:
    async with running(limits=quick(connections=2)) as one:
        kept = [await RawClient.connect(one.address) for _ in range(2)]
        for raw in kept:
            await raw.hello()
        late = await RawClient.connect(one.address)
        assert await late.close_code() is CloseCode.TOO_MANY_CONNECTIONS


async def test_a_client_that_stops_reading_is_held_and_then_ended_while_others_go_on(
    running: ServerFactory,
) -> None:
    limits = quick(unsent_bytes=2000, stall_seconds=0.5, pings_per_second=1e9, ping_burst=10**9)
    async with running(limits=limits) as one:
        raw = await RawClient.connect(one.address)
        await raw.hello()
        raw.writer.transport.pause_reading()
        ping = LengthPrefixed().wrap(Ping(0).encode())
        closed = one.server.metrics.closes.labels("slow_reader")
        for _ in range(2000):
            raw.writer.write(ping * 2000)
            await asyncio.sleep(0.005)
            if closed._value.get():
                break
        assert closed._value.get() == 1
        assert await others_are_served(one.address)
        raw.writer.transport.abort()


async def test_a_connection_that_breaks_in_mid_frame_leaves_nothing_behind(
    running: ServerFactory,
) -> None:
    async with running() as one:
        raw = await RawClient.connect(one.address)
        await raw.hello()
        raw.writer.write(struct.pack(">I", 5000) + b"\x10" * 100)
        await raw.writer.drain()
        raw.writer.transport.abort()
        for _ in range(100):
            await asyncio.sleep(0.01)
            if not one.server.registry.connections:
                break
        assert not one.server.registry.connections
