"""Both ends of a connection without a socket: whose turn it is, credits, limits, and bytes cut
anywhere."""

from __future__ import annotations

import contextlib
import struct
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.protocol.connection import Role, State, StreamProtocol
from runtime.protocol.errors import CloseCode, FrameErrorCode, ProtocolError
from runtime.protocol.framing import LengthPrefixed, Whole
from runtime.protocol.limits import HANDSHAKE_BYTES, Limits
from runtime.protocol.messages import (
    Close,
    Dropped,
    Encoding,
    Frame,
    FrameFailed,
    GoAway,
    Hello,
    Message,
    Model,
    Ping,
    Pong,
    Result,
    Timing,
    Welcome,
)
from runtime.protocol.options import HelloOptions
from tests.offers import MODEL, OFFER
from tests.unit.protocol.test_messages import valid_messages

TWO = replace(OFFER, window=2)
HELLO = Hello(HelloOptions(token="t"))
FRAME = Frame(0, 0, Encoding.JPEG, b"jpeg")
RESULT = Result(0, 1, 1, Timing())
ALL: list[Message] = [
    HELLO,
    Welcome(TWO),
    FRAME,
    RESULT,
    Dropped((0,)),
    FrameFailed(0, FrameErrorCode.UNDECODABLE, "no"),
    Model(1, MODEL),
    Ping(0),
    Pong(0, 0, 0),
    GoAway(0, ""),
    Close(CloseCode.NORMAL),
]
IN_TURN = {
    (State.NEW, Role.CLIENT): {Hello, Close},
    (State.NEW, Role.SERVER): {Close},
    (State.GREETED, Role.CLIENT): {Close},
    (State.GREETED, Role.SERVER): {Welcome, Close},
    (State.OPEN, Role.CLIENT): {Frame, Ping, Close},
    (State.OPEN, Role.SERVER): {Result, Dropped, FrameFailed, Model, Pong, GoAway, Close},
    (State.CLOSED, Role.CLIENT): set(),
    (State.CLOSED, Role.SERVER): set(),
}
"""docs/protocol.md, "A connection's states"."""


class Pair:
    """A client and a server; what one sends the other gets."""

    def __init__(self, framing: type[LengthPrefixed | Whole] = LengthPrefixed) -> None:
        self.client = StreamProtocol(Role.CLIENT, framing=framing())
        self.server = StreamProtocol(Role.SERVER, framing=framing())
        self.ends = {Role.CLIENT: self.client, Role.SERVER: self.server}

    def say(self, speaker: Role, message: Message) -> list[Message]:
        """What the other end makes of it."""
        one = self.ends[speaker]
        other = self.client if one is self.server else self.server
        one.send(message)
        for data in one.data_to_send():
            other.receive_data(data)
        return list(other.events())

    def reach(self, state: State) -> Pair:
        if state is not State.NEW:
            self.say(Role.CLIENT, HELLO)
        if state in (State.OPEN, State.CLOSED):
            self.say(Role.SERVER, Welcome(TWO))
            self.say(Role.CLIENT, FRAME)
        if state is State.CLOSED:
            self.say(Role.CLIENT, Close(CloseCode.NORMAL))
        assert self.client.state is self.server.state is state
        return self


@pytest.mark.parametrize("framing", [LengthPrefixed, Whole])
@pytest.mark.parametrize("message", ALL, ids=lambda one: type(one).__name__)
@pytest.mark.parametrize(("state", "speaker"), IN_TURN)
def test_a_message_is_sent_and_taken_in_its_turn_only(
    state: State, speaker: Role, message: Message, framing: type[LengthPrefixed | Whole]
) -> None:
    pair = Pair(framing).reach(state)
    if type(message) in IN_TURN[state, speaker]:
        assert pair.say(speaker, message) == [message]
        assert pair.client.state is pair.server.state
        assert pair.client.unanswered == pair.server.unanswered
        return
    with pytest.raises(ProtocolError, match=type(message).__name__):
        pair.say(speaker, message)
    assert pair.ends[speaker].data_to_send() == []
    # From somebody who does not keep to it: the listener refuses by itself.
    listener = Pair(framing).reach(state)
    heard = listener.client if speaker is Role.SERVER else listener.server
    heard.receive_data(framing().wrap(message.encode()))
    if state is State.CLOSED:
        assert list(heard.events()) == []
        return
    with pytest.raises(ProtocolError) as refused:
        list(heard.events())
    assert refused.value.code is CloseCode.PROTOCOL_ERROR


def test_each_answer_gives_its_credit_back_and_none_is_given_twice() -> None:
    pair = Pair()
    assert pair.client.credits == 0
    pair.reach(State.OPEN)
    assert pair.client.credits == 1
    pair.say(Role.CLIENT, replace(FRAME, sequence=1))
    with pytest.raises(ProtocolError, match="more than 2 frames") as refused:
        pair.say(Role.CLIENT, replace(FRAME, sequence=2))
    assert refused.value.code is CloseCode.CREDIT_EXCEEDED
    pair.server.receive_data(LengthPrefixed().wrap(FRAME.encode()))
    with pytest.raises(ProtocolError, match="more than 2 frames"):
        list(pair.server.events())
    pair.say(Role.SERVER, Dropped((0, 1)))
    assert (pair.client.credits, pair.server.unanswered) == (2, 0)
    with pytest.raises(ProtocolError, match="more answers than frames"):
        pair.say(Role.SERVER, RESULT)
    pair.client.receive_data(LengthPrefixed().wrap(RESULT.encode()))
    with pytest.raises(ProtocolError, match="more answers than frames"):
        list(pair.client.events())


def test_frames_that_a_resumed_stream_has_under_way_take_their_credits_along() -> None:
    pair = Pair()
    pair.say(Role.CLIENT, Hello(HelloOptions(token="t", session="s", next_sequence=5)))
    pair.say(Role.SERVER, Welcome(replace(TWO, resumed=True, next_sequence=6)))
    assert pair.client.unanswered == pair.server.unanswered == 1
    assert pair.client.credits == 1


def test_after_goaway_there_is_no_credit_and_frames_on_their_way_are_answered() -> None:
    pair = Pair().reach(State.OPEN)
    pair.say(Role.SERVER, GoAway(1000, "spot"))
    assert pair.client.leaving
    assert pair.client.credits == 0
    assert pair.say(Role.SERVER, RESULT) == [RESULT]


def test_what_comes_after_a_close_is_not_read() -> None:
    pair = Pair().reach(State.OPEN)
    for message in (Ping(1), Close(CloseCode.NORMAL), Ping(2)):
        pair.server.receive_data(LengthPrefixed().wrap(message.encode()))
    assert list(pair.server.events()) == [Ping(1), Close(CloseCode.NORMAL)]
    pair.server.close(CloseCode.NORMAL)
    assert pair.server.data_to_send() == []


def test_a_close_is_said_once() -> None:
    server = StreamProtocol(Role.SERVER)
    server.close(CloseCode.TOO_MANY_CONNECTIONS, "full")
    server.close(CloseCode.INTERNAL_ERROR)
    (data,) = server.data_to_send()
    assert data[4:] == Close(CloseCode.TOO_MANY_CONNECTIONS, "full").encode()


def test_the_limit_is_a_handshakes_until_the_welcome_and_then_a_frames() -> None:
    pair = Pair()
    assert pair.server.message_limit == HANDSHAKE_BYTES
    pair.reach(State.GREETED)
    assert pair.server.message_limit == HANDSHAKE_BYTES
    pair.say(Role.SERVER, Welcome(TWO))
    large = replace(FRAME, payload=bytes(2 * HANDSHAKE_BYTES))
    assert pair.say(Role.CLIENT, large) == [large]
    assert pair.server.message_limit == Limits().message_bytes


@pytest.mark.parametrize("framing", [LengthPrefixed, Whole])
def test_a_message_above_the_limit_is_refused(framing: type[LengthPrefixed | Whole]) -> None:
    server = StreamProtocol(Role.SERVER, framing=framing())
    server.receive_data(framing().wrap(bytes(HANDSHAKE_BYTES + 1)))
    with pytest.raises(ProtocolError, match=f"{HANDSHAKE_BYTES + 1} bytes where") as refused:
        list(server.events())
    assert refused.value.code is CloseCode.MESSAGE_TOO_LARGE


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (struct.pack(">I", HANDSHAKE_BYTES + 1), "are allowed"),
        (b"GET / HTTP/1.1\r\n\r\n", "are allowed"),
        (b"\0\0\0\0", "no bytes"),
    ],
)
def test_a_length_that_cannot_be_is_refused_before_its_message_arrives(
    data: bytes, sentence: str
) -> None:
    server = StreamProtocol(Role.SERVER)
    server.receive_data(data)
    with pytest.raises(ProtocolError, match=sentence):
        list(server.events())


@given(st.lists(st.binary(min_size=1, max_size=300), max_size=10), st.data())
def test_messages_come_out_whole_however_the_bytes_are_cut(
    payloads: list[bytes], data: st.DataObject
) -> None:
    client, server = StreamProtocol(Role.CLIENT), StreamProtocol(Role.SERVER)
    offer = replace(OFFER, window=10)
    said: list[Message] = [HELLO, *(replace(FRAME, payload=one) for one in payloads)]
    client.send(HELLO)
    # The client has its welcome; the server gets the hello with all that follows in any pieces.
    client.receive_data(LengthPrefixed().wrap(Welcome(offer).encode()))
    list(client.events())
    for frame in said[1:]:
        client.send(frame)
    stream = b"".join(client.data_to_send())
    received: list[Message] = []
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        server.receive_data(stream[:size])
        for message in server.events():
            received.append(message)
            if isinstance(message, Hello):
                server.send(Welcome(offer))
        stream = stream[size:]
        assert bool(stream) or not server.partial
    assert received == said


@given(
    st.sampled_from(Role),
    st.sampled_from([LengthPrefixed, Whole]),
    st.lists(st.binary(max_size=100), max_size=20),
)
def test_no_garbage_is_more_than_a_protocol_error(
    role: Role, framing: type[LengthPrefixed | Whole], received: list[bytes]
) -> None:
    protocol = StreamProtocol(role, framing=framing())
    for data in received:
        protocol.receive_data(data)
        with contextlib.suppress(ProtocolError):
            list(protocol.events())


@given(st.sampled_from(Role), st.lists(valid_messages, max_size=20))
def test_messages_in_any_order_are_no_more_than_a_protocol_error(
    role: Role, received: list[Any]
) -> None:
    protocol = StreamProtocol(role, framing=Whole())
    for message in received:
        protocol.receive_data(message.encode())
        with contextlib.suppress(ProtocolError):
            list(protocol.events())
