"""Bytes to messages and back, and nothing but ProtocolError for bytes that are none."""

from __future__ import annotations

import contextlib
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.protocol import messages
from runtime.protocol.errors import CloseCode, DropReason, FrameErrorCode, ProtocolError
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
)
from runtime.protocol.options import HelloOptions, ModelOffer

u16 = st.integers(0, 2**16 - 1)
u32 = st.integers(0, 2**32 - 1)
u64 = st.integers(0, 2**64 - 1)
f32 = st.floats(width=32, allow_nan=False)
text = st.text(max_size=200)
unit = st.floats(0, 1)

detections = st.builds(
    Detection, u16, f32, st.tuples(f32, f32, f32, f32), st.integers(-1, 2**31 - 1)
)
timings = st.builds(Timing, u64, u64, u32, u32, u32, u32, u16)
hellos = st.builds(
    HelloOptions,
    token=text,
    policy=st.sampled_from(["live", "lossless"]),
    model=text,
    confidence=unit,
    iou=unit,
    gate=st.none() | unit,
    track=st.booleans(),
    key_interval=st.integers(1, 100),
    next_sequence=st.integers(0, 2**62),
    session=text,
    client=text,
)
offers = st.builds(
    ModelOffer,
    name=text,
    version=text,
    weights_trained=st.booleans(),
    weights=text,
    engine=text,
    precision=text,
    device=text,
    labels=st.lists(text, max_size=5).map(tuple),
)
valid_messages = st.one_of(
    st.builds(Hello, hellos),
    st.builds(Frame, u64, u64, st.sampled_from(Encoding), st.binary(max_size=300), u16, u16),
    st.builds(
        Result,
        u64,
        u16,
        u16,
        timings,
        st.lists(detections, max_size=20).map(tuple),
        st.integers(0, 7).map(ResultFlag),
        u16,
    ),
    st.builds(Dropped, st.lists(u64, max_size=20).map(tuple), st.sampled_from(DropReason)),
    st.builds(FrameFailed, u64, st.sampled_from(FrameErrorCode), text),
    st.builds(Model, u16, offers),
    st.builds(Ping, u64),
    st.builds(Pong, u64, u64, u64),
    st.builds(GoAway, u32, text),
    st.builds(Close, st.sampled_from(CloseCode), text),
)


@given(valid_messages)
def test_every_message_survives_the_way_through_its_bytes(message: Any) -> None:
    assert messages.decode(message.encode()) == message


@given(st.binary(max_size=400))
def test_garbage_is_a_protocol_error_and_nothing_else(data: bytes) -> None:
    with contextlib.suppress(ProtocolError):
        messages.decode(data)


@given(valid_messages, st.data())
def test_a_damaged_message_is_a_protocol_error_or_another_message(
    message: Any, data: st.DataObject
) -> None:
    damaged = bytearray(message.encode())
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(damaged)))
    with contextlib.suppress(ProtocolError):
        messages.decode(bytes(damaged[:cut]))


def test_a_hello_without_the_magic_word_is_refused() -> None:
    spoiled = bytearray(Hello(HelloOptions(token="t")).encode())
    spoiled[1:5] = b"HTTP"
    with pytest.raises(ProtocolError, match="VSTK"):
        messages.decode(bytes(spoiled))


def test_a_hello_of_a_later_protocol_only_is_refused_with_both_versions_named() -> None:
    with pytest.raises(ProtocolError, match="versions 2 to 3") as refused:
        messages.decode(Hello(HelloOptions(token="t"), 2, 3).encode())
    assert refused.value.code is CloseCode.UNSUPPORTED_VERSION


@pytest.mark.parametrize(
    ("option", "named"),
    [
        ('{"policy": "fast"}', "policy"),
        ('{"confidence": 2}', "confidence"),
        ('{"confidence": true}', "confidence"),
        ('{"iou": NaN}', "iou"),
        ('{"gate": "x"}', "gate"),
        ('{"track": 1}', "track"),
        ('{"key_interval": 0}', "key_interval"),
        ('{"next_sequence": -1}', "next_sequence"),
        ('{"token": 5}', "token"),
        ('{"token": "\\ud800"}', "token"),
        ('{"model": ["a"]}', "model"),
    ],
)
def test_a_wrong_option_is_refused_by_name(option: str, named: str) -> None:
    with pytest.raises(ProtocolError, match=named) as refused:
        HelloOptions.from_json(option.encode())
    assert refused.value.code is CloseCode.BAD_OPTION


@pytest.mark.parametrize("data", [b"", b"[]", b"nul", b"\xff", b"[" * 5000])
def test_a_hello_that_is_not_a_json_object_is_refused(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        HelloOptions.from_json(data)


def test_unknown_options_are_ignored() -> None:
    assert HelloOptions.from_json(b'{"token": "t", "new": 1}') == HelloOptions(token="t")


@pytest.mark.parametrize(
    ("message", "sentence"),
    [
        (struct.pack(">BH", messages.Kind.CLOSE, 999), "999 is no CloseCode"),
        (struct.pack(">BBQ", messages.Kind.FRAME_FAILED, 99, 1), "99 is no FrameErrorCode"),
    ],
)
def test_a_code_that_the_protocol_does_not_have_is_named(message: bytes, sentence: str) -> None:
    with pytest.raises(ProtocolError, match=sentence) as refused:
        messages.decode(message)
    assert refused.value.code is CloseCode.PROTOCOL_ERROR
