"""Length-prefixed messages in a byte stream (raw TCP); WebSocket frames its messages itself."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from runtime.protocol.errors import CloseCode, ProtocolError

_LENGTH = struct.Struct(">I")


def frame_message(message: bytes) -> bytes:
    """The message with its length (unsigned 32 bit, network order) in front."""
    return _LENGTH.pack(len(message)) + message


class MessageReader:
    """Cuts a byte stream into messages; bytes may arrive in pieces of any size.

    `limit` may be raised after the handshake; it is checked on the prefix, before the message is
    collected. Raises ProtocolError (MESSAGE_TOO_LARGE, or PROTOCOL_ERROR for an empty message).
    """

    __slots__ = ("_buffer", "limit")

    def __init__(self, *, limit: int) -> None:
        self._buffer = bytearray()
        self.limit = limit

    @property
    def partial(self) -> bool:
        """Whether a message has begun and is not complete."""
        return bool(self._buffer)

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take what arrived and yield the messages it completes."""
        self._buffer += data
        while len(self._buffer) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._buffer)
            if length == 0:
                raise ProtocolError(CloseCode.PROTOCOL_ERROR, "a message of no bytes")
            if length > self.limit:
                raise ProtocolError(
                    CloseCode.MESSAGE_TOO_LARGE,
                    f"a message of {length} bytes where {self.limit} are allowed",
                )
            end = _LENGTH.size + length
            if len(self._buffer) < end:
                return
            with memoryview(self._buffer) as view:
                message = bytes(view[_LENGTH.size : end])
            del self._buffer[:end]
            yield message
