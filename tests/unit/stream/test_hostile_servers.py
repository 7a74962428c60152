"""Servers that break the protocol, or keep it and never serve: the client's patience bounds each,
and a frame that ends every server it reaches is failed by itself."""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest

from runtime.contract import StreamPolicy
from runtime.protocol import messages
from runtime.protocol.errors import CloseCode, ProtocolError
from runtime.protocol.framing import LengthPrefixed
from runtime.protocol.messages import (
    Close,
    Detection,
    Dropped,
    Frame,
    GoAway,
    Hello,
    Kind,
    Ping,
    Pong,
    Result,
    Timing,
    Welcome,
)
from runtime.protocol.options import WelcomeOffer
from tests.offers import OFFER
from visionstack.stream.client import AsyncStreamClient, Patience
from visionstack.stream.errors import StreamUnreachableError
from visionstack.stream.saving import draw
from visionstack.stream.types import FailedFrame, StreamAddress, StreamResult

TOKEN = "a token of more than twenty-four characters"
JPEG = b"\xff\xd8 not looked at by these servers"
HASTY = Patience(
    connect=0.3,
    give_up=0.6,
    begin=0.6,
    first_delay=0.01,
    longest_delay=0.05,
    ping=0.05,
    silence=0.4,
)


class Peer:
    """The server's end of one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self.writer = reader, writer
        self._framing = LengthPrefixed()

    def send(self, message: bytes) -> None:
        self.writer.write(self._framing.wrap(message))

    async def receive(self) -> Any:
        while (message := self._framing.next(limit=2**24)) is None:
            data = await self._reader.read(65536)
            if not data:
                raise ConnectionError
            self._framing.feed(data)
        return messages.decode(message)

    async def welcome(self, **offer: Any) -> Hello:
        """Read the hello and welcome whoever said it, from its own next frame on."""
        hello: Hello = await self.receive()
        granted = {"next_sequence": hello.options.next_sequence} | offer
        self.send(Welcome(replace(OFFER, **granted)).encode())
        return hello

    async def frame(self) -> Frame:
        """The next frame; pings are answered meanwhile."""
        while True:
            match await self.receive():
                case Frame() as frame:
                    return frame
                case Ping(sent):
                    self.send(Pong(sent, sent, sent).encode())
                case Close():
                    raise ConnectionError


Behaviour = Callable[[Peer], Awaitable[None]]


@asynccontextmanager
async def serving(behaviour: Behaviour) -> Any:
    """`behaviour` for each connection; it is ended when that returns."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.CancelledError):
            await behaviour(Peer(reader, writer))
            with suppress(ConnectionError):
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield StreamAddress("127.0.0.1", server.sockets[0].getsockname()[1], TOKEN)
    finally:
        server.close()


async def ends_at_once(peer: Peer) -> None:
    await peer.welcome()


async def ends_at_the_first_frame(peer: Peer) -> None:
    await peer.welcome()
    await peer.frame()


async def ends_after_a_pause(peer: Peer) -> None:
    await peer.welcome()
    with suppress(TimeoutError):
        async with asyncio.timeout(0.1):
            while True:
                await peer.frame()


async def answers_pings_only(peer: Peer) -> None:
    await peer.welcome()
    while True:
        await peer.frame()


async def reads_nothing(peer: Peer) -> None:
    await peer.welcome()
    await asyncio.sleep(60)


async def sends_one_byte_after_the_other(peer: Peer) -> None:
    await peer.welcome()
    peer.writer.write(struct.pack(">I", 1000))
    while not peer.writer.is_closing():
        peer.writer.write(b"\x11")
        await asyncio.sleep(0.02)


async def says_goaway_at_once(peer: Peer) -> None:
    await peer.welcome()
    peer.send(GoAway(1000, "no reason").encode())
    await peer.frame()


async def closes_with_a_code_to_try_again(peer: Peer) -> None:
    await peer.welcome()
    peer.send(Close(CloseCode.INTERNAL_ERROR, "again and again").encode())


async def claims_frames_it_never_got(peer: Peer) -> None:
    await peer.welcome(next_sequence=2**40, resumed=True)
    while True:
        await peer.frame()


async def answers_a_frame_that_was_never_sent(peer: Peer) -> None:
    await peer.welcome()
    peer.send(Result(12345, 1, 1, Timing()).encode())
    await peer.frame()


async def drops_a_frame_that_was_never_sent(peer: Peer) -> None:
    await peer.welcome()
    peer.send(Dropped((2**63,)).encode())
    await peer.frame()


async def answers_before_the_welcome(peer: Peer) -> None:
    await peer.receive()
    peer.send(Result(0, 1, 1, Timing()).encode())


async def welcomes_twice(peer: Peer) -> None:
    await peer.welcome()
    peer.send(Welcome(OFFER).encode())
    await peer.frame()


async def sends_garbage(peer: Peer) -> None:
    await peer.welcome()
    peer.writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 100)


async def announces_a_message_of_four_gigabytes(peer: Peer) -> None:
    await peer.welcome()
    peer.writer.write(b"\xff\xff\xff\xff")
    await asyncio.sleep(60)


async def closes_with_a_code_that_does_not_exist(peer: Peer) -> None:
    await peer.welcome()
    peer.send(struct.pack(">BH", Kind.CLOSE, 9))


async def never_welcomes(peer: Peer) -> None:
    while True:
        await peer.receive()


HOSTILE = [
    ends_at_once,
    ends_at_the_first_frame,
    ends_after_a_pause,
    answers_pings_only,
    reads_nothing,
    sends_one_byte_after_the_other,
    says_goaway_at_once,
    closes_with_a_code_to_try_again,
    claims_frames_it_never_got,
    answers_a_frame_that_was_never_sent,
    drops_a_frame_that_was_never_sent,
    answers_before_the_welcome,
    welcomes_twice,
    sends_garbage,
    announces_a_message_of_four_gigabytes,
    closes_with_a_code_that_does_not_exist,
    never_welcomes,
]


@pytest.mark.parametrize("policy", ["lossless", "live"])
@pytest.mark.parametrize("behaviour", HOSTILE, ids=lambda one: one.__name__)
async def test_give_up_bounds_every_hostile_server(
    behaviour: Behaviour, policy: StreamPolicy
) -> None:
    async with serving(behaviour) as address:
        client = AsyncStreamClient(address, policy=policy, patience=HASTY)

        async def keep_sending() -> None:
            await client.connect()
            while True:
                await client.send(JPEG)
                await asyncio.sleep(0.02)

        with pytest.raises(StreamUnreachableError, match=str(address.port)):
            async with asyncio.timeout(60):
                await keep_sending()
        assert client.counts.results == 0
        await client.close()


async def test_a_stream_with_nothing_to_send_gives_a_server_up_that_ends_at_once() -> None:
    async with serving(ends_at_once) as address:
        client = AsyncStreamClient(address, policy="lossless", patience=HASTY)
        await client.connect()
        with pytest.raises(StreamUnreachableError):
            async with asyncio.timeout(60):
                await client.answer()
        await client.close()


async def test_a_stream_with_nothing_to_send_keeps_a_server_that_stays() -> None:
    async with serving(answers_pings_only) as address:
        client = AsyncStreamClient(address, policy="lossless", patience=HASTY)
        await client.connect()
        await asyncio.sleep(3 * HASTY.give_up)
        assert client._error is None
        assert client.counts.connections == 1
        await client.close()


async def test_a_server_that_answers_one_frame_a_connection_is_kept() -> None:
    """Progress is what counts, however often the connection ends."""

    async def one_each(peer: Peer) -> None:
        await peer.welcome()
        frame = await peer.frame()
        peer.send(Result(frame.sequence, 1, 1, Timing()).encode())
        await asyncio.sleep(0.1)

    frames = 12
    async with (
        serving(one_each) as address,
        AsyncStreamClient(address, policy="lossless", patience=HASTY) as client,
        asyncio.timeout(60),
    ):
        got = [answer async for answer in client.stream([JPEG] * frames)]
    assert [answer.sequence for answer in got] == list(range(frames))
    assert all(isinstance(answer, StreamResult) for answer in got)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("place", range(5))
async def test_a_box_that_is_no_finite_number_fails_its_frame_alone(
    number: float, place: int
) -> None:
    numbers = [1.0, 2.0, 3.0, 4.0, 0.5]
    x1, y1, x2, y2, confidence = (*numbers[:place], number, *numbers[place + 1 :])

    async def answers_badly_once(peer: Peer) -> None:
        await peer.welcome()
        for box in ((x1, y1, x2, y2), (-3e38, 0.0, 3e38, 3e38)):
            frame = await peer.frame()
            found = Detection(0, confidence if frame.sequence == 0 else 3e38, box)
            peer.send(Result(frame.sequence, 64, 48, Timing(), (found,)).encode())
        await asyncio.sleep(1)

    async with (
        serving(answers_badly_once) as address,
        AsyncStreamClient(address, policy="lossless", patience=HASTY) as client,
        asyncio.timeout(60),
    ):
        bad, odd = [answer async for answer in client.stream([JPEG] * 2)]
    assert isinstance(bad, FailedFrame)
    assert (bad.code, client.counts.failed, client.counts.results) == ("bad_answer", 1, 1)
    assert isinstance(odd, StreamResult)
    assert draw(np.zeros((48, 64, 3), np.uint8), odd.detections).shape == (48, 64, 3)


def spoiled(**fields: Any) -> dict[str, Any]:
    return asdict(OFFER) | fields


WRONG = [
    ("window", spoiled(window="4")),
    ("window", spoiled(window=0)),
    ("window", spoiled(window=2**40)),
    ("window", spoiled(window=True)),
    ("window", spoiled(window=None)),
    ("next_sequence", spoiled(next_sequence=-1)),
    ("next_sequence", spoiled(next_sequence=1.5)),
    ("session", spoiled(session=7)),
    ("resumed", spoiled(resumed="no")),
    ("frame_bytes", spoiled(frame_bytes=[])),
    ("frame_pixels", spoiled(frame_pixels={})),
    ("idle_seconds", spoiled(idle_seconds="long")),
    ("resume_seconds", spoiled(resume_seconds=float("nan"))),
    ("server", spoiled(server=None)),
    ("model", spoiled(model=None)),
    ("model", spoiled(model=["name"])),
    ("labels", spoiled(model=asdict(OFFER.model) | {"labels": "zero"})),
    ("labels", spoiled(model=asdict(OFFER.model) | {"labels": [1, 2]})),
    ("labels", spoiled(model=asdict(OFFER.model) | {"labels": None})),
    ("weights_trained", spoiled(model=asdict(OFFER.model) | {"weights_trained": "yes"})),
    ("name", spoiled(model=asdict(OFFER.model) | {"name": 1})),
    ("window", {name: value for name, value in asdict(OFFER).items() if name != "window"}),
    ("engine", spoiled(model={k: v for k, v in asdict(OFFER.model).items() if k != "engine"})),
]


@pytest.mark.parametrize(("field", "document"), WRONG, ids=lambda one: str(one)[:60])
def test_a_welcome_with_a_wrong_field_is_a_protocol_error_that_names_it(
    field: str, document: dict[str, Any]
) -> None:
    with pytest.raises(ProtocolError, match=f"welcome.*{field}") as caught:
        WelcomeOffer.from_json(json.dumps(document).encode())
    assert caught.value.code is CloseCode.PROTOCOL_ERROR


def test_a_right_welcome_survives_its_json() -> None:
    assert WelcomeOffer.from_json(OFFER.to_json()) == OFFER


async def test_what_was_wrong_with_the_welcome_is_in_the_clients_error() -> None:
    async def welcomes_wrongly(peer: Peer) -> None:
        await peer.receive()
        peer.send(Welcome.HEADER.pack(Kind.WELCOME, 1) + json.dumps(spoiled(window="4")).encode())
        await asyncio.sleep(60)

    async with serving(welcomes_wrongly) as address:
        client = AsyncStreamClient(address, patience=HASTY)
        with pytest.raises(StreamUnreachableError, match="the welcome's window is '4'"):
            async with asyncio.timeout(60):
                await client.connect()
        await client.close()


@pytest.mark.parametrize("at", [0, 3, 7], ids=lambda at: f"frame {at}")
@pytest.mark.parametrize("in_flight", [None, 1])
async def test_a_frame_that_ends_every_server_is_failed_and_the_stream_goes_on(
    at: int, in_flight: int | None
) -> None:
    deaths = 0

    async def dies_of_it(peer: Peer) -> None:
        """Looks at a frame as soon as it arrives, before older ones are answered."""
        nonlocal deaths
        await peer.welcome()
        while True:
            frame = await peer.frame()
            if frame.payload.endswith(b"poison"):
                deaths += 1
                return
            await asyncio.sleep(0.002)
            peer.send(Result(frame.sequence, 1, 1, Timing()).encode())

    pictures = [JPEG + (b"poison" if n == at else b"") for n in range(12)]
    patience = replace(HASTY, give_up=10)
    async with serving(dies_of_it) as address:
        client = AsyncStreamClient(
            address, policy="lossless", patience=patience, in_flight=in_flight
        )
        async with client, asyncio.timeout(60):
            got = [answer async for answer in client.stream(pictures)]

    assert [answer.sequence for answer in got] == list(range(12))
    (failed,) = [answer for answer in got if isinstance(answer, FailedFrame)]
    assert failed.sequence == at
    assert failed.code == "server_lost"
    assert "3" in failed.reason
    assert 3 <= deaths <= 4
    assert client.counts.failed == 1


async def test_a_frame_whose_connection_ends_while_the_server_lives_is_sent_for_good() -> None:
    """A line that is cut takes no frame along: the server still has the session."""
    cuts = 0

    async def cut_five_times(peer: Peer) -> None:
        nonlocal cuts
        hello = await peer.welcome(resumed=cuts > 0)
        assert (hello.options.session == "s1") == (cuts > 0)
        frame = await peer.frame()
        if cuts < 5:
            cuts += 1
            return
        peer.send(Result(frame.sequence, 1, 1, Timing()).encode())
        await peer.frame()

    patience = replace(HASTY, give_up=10)
    async with serving(cut_five_times) as address:
        client = AsyncStreamClient(address, policy="lossless", patience=patience)
        async with client, asyncio.timeout(60):
            assert isinstance(await client.detect(JPEG), StreamResult)
    assert cuts == 5


async def test_a_server_without_tls_is_called_that() -> None:
    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"\x00\x00\x00\x05hello, this is no TLS record")
        with suppress(OSError):
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(plain, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    address = StreamAddress("127.0.0.1", port, TOKEN, "00" * 32)
    try:
        with pytest.raises(StreamUnreachableError, match="does not speak TLS") as caught:
            async with AsyncStreamClient(address, patience=HASTY):
                pass
    finally:
        server.close()
    assert "fingerprint" in str(caught.value.remedy)
