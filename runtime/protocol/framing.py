"""How a transport keeps messages apart: by their lengths in a byte stream (TCP), or by itself."""

from __future__ import annotations

import struct
from collections import deque

from runtime.protocol.errors import CloseCode, ProtocolError

_LENGTH = struct.Struct(">I")


def check_length(length: int, limit: int) -> None:
    """Raises ProtocolError (MESSAGE_TOO_LARGE)."""
    if length > limit:
        raise ProtocolError(
            CloseCode.MESSAGE_TOO_LARGE, f"a message of {length} bytes where {limit} are allowed"
        )


class LengthPrefixed:
    """A byte stream in pieces of any size: each message has its length (unsigned 32 bit, network
    order) in front, which is checked before the message is collected."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = bytearray()

    @property
    def partial(self) -> bool:
        """Whether a message has begun and is not complete."""
        return bool(self._buffer)

    def feed(self, data: bytes) -> None:
        self._buffer += data

    def next(self, *, limit: int) -> bytes | None:
        """The next message that is complete. Raises ProtocolError (MESSAGE_TOO_LARGE, or
        PROTOCOL_ERROR for an empty one)."""
        if len(self._buffer) < _LENGTH.size:
            return None
        (length,) = _LENGTH.unpack_from(self._buffer)
        if length == 0:
            raise ProtocolError(CloseCode.PROTOCOL_ERROR, "a message of no bytes")
        check_length(length, limit)
        end = _LENGTH.size + length
        if len(self._buffer) < end:
            return None
        with memoryview(self._buffer) as view:
            message = bytes(view[_LENGTH.size : end])
        del self._buffer[:end]
        return message

    def wrap(self, message: bytes) -> bytes:
        return _LENGTH.pack(len(message)) + message


class Whole:
    """Messages that arrive and leave whole (WebSocket)."""

    __slots__ = ("_messages",)
    partial = False

    def __init__(self) -> None:
        self._messages: deque[bytes] = deque()

    def feed(self, data: bytes) -> None:
        self._messages.append(data)

    def next(self, *, limit: int) -> bytes | None:
        if not self._messages:
            return None
        check_length(len(self._messages[0]), limit)
        return self._messages.popleft()

    def wrap(self, message: bytes) -> bytes:
        return message
