"""The bytes of each message as docs/protocol.md lays them out, written here by hand."""

from __future__ import annotations

import json
import struct
from typing import Any, get_args

import pytest

from runtime.contract import StreamPolicy
from runtime.protocol import messages
from runtime.protocol.connection import Role, StreamProtocol
from runtime.protocol.errors import CloseCode, DropReason, FrameErrorCode, ProtocolError
from runtime.protocol.framing import LONG_BYTES, LengthPrefixed, Pieces
from runtime.protocol.limits import Limits
from runtime.protocol.messages import (
    Close,
    Detection,
    Dropped,
    Encoding,
    Frame,
    FrameFailed,
    GoAway,
    Hello,
    Model,
    Ping,
    Pong,
    Result,
    ResultFlag,
    Timing,
    Welcome,
)
from runtime.protocol.options import HelloOptions
from tests.offers import OFFER


def u(width: int, *values: int) -> bytes:
    return b"".join(value.to_bytes(width // 8) for value in values)


BYTES: list[tuple[Any, bytes]] = [
    (
        Frame(7, 99, Encoding.BGR, b"abc", 1, 1),
        b"\x10\x04" + u(16, 1, 1, 0) + u(64, 7, 99) + b"abc",
    ),
    (
        Frame(7, 99, Encoding.JPEG, b"\xff\xd8"),
        b"\x10\x01" + u(16, 0, 0, 0) + u(64, 7, 99) + b"\xff\xd8",
    ),
    (
        Result(
            5,
            640,
            480,
            Timing(received=10, sent=40, decode=1, queue=2, inference=20, post=7, batch=3),
            (Detection(9, 0.5, (1.0, 2.0, 3.0, 4.0), 6),),
            ResultFlag.TRACKED,
            2,
        ),
        b"\x11\x04"
        + u(16, 1, 640, 480)
        + u(64, 5, 10, 40)
        + u(32, 1, 2, 20, 7)
        + u(16, 3, 2)
        + struct.pack(">5f", 1, 2, 3, 4, 0.5)
        + u(16, 9)
        + u(32, 6),
    ),
    (
        # Nothing is said: no detection, no flag, no time, the first version of the model.
        Result(5, 640, 480, Timing()),
        b"\x11\x00" + u(16, 0, 640, 480) + u(64, 5, 0, 0) + bytes(16) + u(16, 0, 0),
    ),
    (
        Result(5, 6, 4, Timing(), (Detection(0, 1.0, (0.0, 0.0, 6.0, 4.0)),)),
        b"\x11\x00"
        + u(16, 1, 6, 4)
        + u(64, 5, 0, 0)
        + bytes(16)
        + u(16, 0, 0)
        + struct.pack(">5f", 0, 0, 6, 4, 1)
        + u(16, 0)
        + b"\xff\xff\xff\xff",
    ),
    (Dropped((1, 2**63)), b"\x12\x01" + u(16, 2) + u(64, 1, 2**63)),
    (Dropped((3,), DropReason.GOING_AWAY), b"\x12\x02" + u(16, 1) + u(64, 3)),
    (FrameFailed(4, FrameErrorCode.NEEDS_KEYFRAME, "é"), b"\x13\x06" + u(64, 4) + b"\xc3\xa9"),
    (Ping(2**40), b"\x20" + u(64, 2**40)),
    (Pong(1, 2, 3), b"\x21" + u(64, 1, 2, 3)),
    (GoAway(20_000, "moving"), b"\x30" + u(32, 20_000) + b"moving"),
    (Close(CloseCode.TAKEN_OVER), b"\x31" + u(16, 4013)),
    (Close(CloseCode.NORMAL, "bye"), b"\x31" + u(16, 4000) + b"bye"),
]


@pytest.mark.parametrize(("message", "data"), BYTES, ids=lambda one: type(one).__name__)
def test_a_message_has_the_bytes_of_the_document_both_ways(message: Any, data: bytes) -> None:
    assert message.encode() == data
    assert messages.decode(data) == message


@pytest.mark.parametrize(
    ("code", "encoding"),
    [
        (1, Encoding.JPEG),
        (2, Encoding.PNG),
        (3, Encoding.WEBP),
        (4, Encoding.BGR),
        (5, Encoding.H264),
        (0, Encoding.UNKNOWN),
        (6, Encoding.UNKNOWN),
        (255, Encoding.UNKNOWN),
    ],
)
def test_encodings_have_the_numbers_of_the_document(code: int, encoding: Encoding) -> None:
    decoded = messages.decode(bytes((0x10, code)) + bytes(22) + b"x")
    assert isinstance(decoded, Frame)
    assert decoded.encoding is encoding


@pytest.mark.parametrize(
    ("bits", "flag"),
    [(1, ResultFlag.UNCHANGED), (2, ResultFlag.PREDICTED), (4, ResultFlag.TRACKED)],
)
def test_flags_have_the_numbers_of_the_document_and_others_are_left_out(
    bits: int, flag: ResultFlag
) -> None:
    decoded = messages.decode(bytes((0x11, bits | 0xF8)) + bytes(50))
    assert isinstance(decoded, Result)
    assert decoded.flags == flag


def test_policies_have_the_names_of_the_document() -> None:
    assert list(get_args(StreamPolicy)) == ["live", "lossless"]


def test_hello_and_welcome_name_version_1_and_then_json() -> None:
    hello = Hello(HelloOptions(token="t")).encode()
    assert hello[:7] == b"\x01VSTK\x01\x01"
    assert json.loads(hello[7:])["token"] == "t"
    welcome = Welcome(OFFER).encode()
    assert welcome[:2] == b"\x02\x01"
    assert json.loads(welcome[2:])["session"] == OFFER.session
    model = Model(300, OFFER.model).encode()
    assert model[:3] == b"\x14" + u(16, 300)
    assert json.loads(model[3:])["name"] == OFFER.model.name
    assert messages.decode(model) == Model(300, OFFER.model)


@pytest.mark.parametrize(("lowest", "highest", "fits"), [(1, 1, True), (0, 1, True), (1, 9, True),
                                                         (2, 9, False), (0, 0, False)])  # fmt: skip
def test_a_hello_fits_when_version_1_is_among_those_that_it_speaks(
    lowest: int, highest: int, fits: bool
) -> None:
    message = b"\x01VSTK" + bytes((lowest, highest)) + b"{}"
    if fits:
        assert isinstance(messages.decode(message), Hello)
        return
    with pytest.raises(ProtocolError) as refused:
        messages.decode(message)
    assert refused.value.code == 4002


def test_a_welcome_of_another_version_is_refused() -> None:
    with pytest.raises(ProtocolError) as refused:
        messages.decode(b"\x02\x02" + Welcome(OFFER).encode()[2:])
    assert refused.value.code == 4002


@pytest.mark.parametrize("message", [BYTES[2][1], BYTES[5][1]], ids=["result", "dropped"])
@pytest.mark.parametrize("change", [lambda data: data[:-1], lambda data: data + b"\0"])
def test_a_message_of_another_length_than_its_count_says_is_refused(
    message: bytes, change: Any
) -> None:
    with pytest.raises(ProtocolError) as refused:
        messages.decode(change(message))
    assert refused.value.code == 4001


@pytest.mark.parametrize("length", [1023, 1024, 1025])
def test_a_reason_has_1024_bytes_at_most_either_way(length: int) -> None:
    assert len(Close(CloseCode.NORMAL, "x" * length).encode()) == 3 + min(length, 1024)
    decoded = messages.decode(b"\x31" + u(16, 4000) + b"x" * length)
    assert isinstance(decoded, Close)
    assert len(decoded.reason) == min(length, 1024)


@pytest.mark.parametrize("length", [LONG_BYTES - 24, LONG_BYTES - 23])
def test_only_a_long_frame_stays_in_pieces(length: int) -> None:
    message = b"\x10\x01" + bytes(22) + bytes(length)
    decoded = messages.decode(message)
    assert isinstance(decoded, Frame)
    assert isinstance(decoded.payload, Pieces) is (len(message) > LONG_BYTES)
    assert bytes(decoded.payload) == bytes(length)


def test_a_frame_in_pieces_is_the_same_as_in_one_and_others_are_put_together() -> None:
    data = BYTES[0][1]
    cut = Pieces((memoryview(data[:9]), memoryview(data[9:])))
    decoded = messages.decode(cut)
    assert isinstance(decoded, Frame)
    assert isinstance(decoded.payload, Pieces)
    assert decoded.encode() == data
    close = BYTES[-1][1]
    assert messages.decode(Pieces((memoryview(close[:2]), memoryview(close[2:])))) == BYTES[-1][0]


def test_before_a_welcome_there_is_no_window_and_nothing_is_unanswered() -> None:
    for role in Role:
        protocol = StreamProtocol(role)
        assert (protocol.credits, protocol.unanswered, protocol.leaving) == (0, 0, False)


def test_how_much_of_a_message_has_arrived() -> None:
    protocol = StreamProtocol(Role.SERVER)
    assert (protocol.partial, protocol.partial_bytes) == (False, 0)
    data = LengthPrefixed().wrap(Hello(HelloOptions(token="t")).encode())
    protocol.receive_data(data[:30])
    assert list(protocol.events()) == []
    assert (protocol.partial, protocol.partial_bytes) == (True, 30)
    protocol.receive_data(data[30:])
    assert len(list(protocol.events())) == 1
    assert (protocol.partial, protocol.partial_bytes) == (False, 0)


def test_a_client_takes_a_whole_message_from_the_first_and_a_server_8_kib_until_its_welcome() -> (
    None
):
    limits = Limits(frame_bytes=1000)
    assert StreamProtocol(Role.CLIENT, limits=limits).message_limit == 1024
    server = StreamProtocol(Role.SERVER, limits=limits)
    assert server.message_limit == 8192
    server.receive_data(LengthPrefixed().wrap(Hello(HelloOptions(token="t")).encode()))
    list(server.events())
    assert server.message_limit == 8192
    server.send(Welcome(OFFER))
    assert server.message_limit == 1024
