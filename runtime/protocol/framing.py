"""How a transport keeps messages apart: by their lengths in a byte stream (TCP), or by itself."""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Iterable

from runtime.protocol.errors import CloseCode, ProtocolError

_LENGTH = struct.Struct(">I")
LONG_BYTES = 64 * 1024
"""A message that is longer is kept in the pieces in which it arrives."""
_GATHERED_BYTES = 256 * 1024


class Pieces:
    """Bytes as they came. `bytes()` of it puts them together, once: milliseconds for a large
    picture, which are not the event loop's that collected them."""

    __slots__ = ("_parts", "_size")

    def __init__(self, parts: Iterable[bytes | memoryview]) -> None:
        self._parts = list(parts)
        self._size = sum(map(len, self._parts))

    def __len__(self) -> int:
        return self._size

    def __bytes__(self) -> bytes:
        if len(self._parts) != 1 or not isinstance(self._parts[0], bytes):
            # Of bytes alone join lets other threads run meanwhile.
            self._parts = [b"".join(self._parts)]
        return bytes(self._parts[0])

    def split(self, size: int) -> tuple[bytes, Pieces]:
        """The first `size` bytes, and the others as they came."""
        head, at = b"", 0
        while at < len(self._parts) and len(head) + len(self._parts[at]) <= size:
            head += self._parts[at]
            at += 1
        missing = size - len(head)
        if missing and at < len(self._parts):
            part = self._parts[at]
            return head + part[:missing], Pieces((part[missing:], *self._parts[at + 1 :]))
        return head, Pieces(self._parts[at:])


class _Arriving:
    """A long message that is not complete."""

    __slots__ = ("_gathered", "_parts", "missing", "size")

    def __init__(self, size: int) -> None:
        self.size = self.missing = size
        self._parts: list[bytes] = []
        self._gathered = bytearray()

    def take(self, data: bytes) -> bytes:
        """Returns what belongs to the messages after it."""
        mine, others = (
            (data, b"")
            if len(data) <= self.missing
            else (data[: self.missing], data[self.missing :])
        )
        self.missing -= len(mine)
        if len(mine) < LONG_BYTES:
            # Each object takes memory of its own, whatever it holds.
            self._gathered += mine
        if len(mine) >= LONG_BYTES or len(self._gathered) >= _GATHERED_BYTES:
            self._close_gathered()
        if len(mine) >= LONG_BYTES:
            self._parts.append(mine)
        return others

    def pieces(self) -> Pieces:
        self._close_gathered()
        return Pieces(self._parts)

    def _close_gathered(self) -> None:
        if self._gathered:
            self._parts.append(bytes(self._gathered))
            self._gathered = bytearray()


def check_length(length: int, limit: int) -> None:
    """Raises ProtocolError (MESSAGE_TOO_LARGE)."""
    if length > limit:
        raise ProtocolError(
            CloseCode.MESSAGE_TOO_LARGE, f"a message of {length} bytes where {limit} are allowed"
        )


class LengthPrefixed:
    """A byte stream in pieces of any size: each message has its length (unsigned 32 bit, network
    order) in front, which is checked before the message is collected."""

    __slots__ = ("_buffer", "_long")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._long: _Arriving | None = None

    @property
    def partial(self) -> bool:
        """Whether a message has begun and is not complete."""
        return bool(self._buffer) or self._long is not None

    @property
    def partial_bytes(self) -> int:
        """How much of a message that is not complete is here."""
        long = self._long
        return len(self._buffer) + (0 if long is None else long.size - long.missing)

    def feed(self, data: bytes) -> None:
        if self._long is not None:
            data = self._long.take(data)
        self._buffer += data

    def next(self, *, limit: int) -> bytes | Pieces | None:
        """The next message that is complete. Raises ProtocolError (MESSAGE_TOO_LARGE, or
        PROTOCOL_ERROR for an empty one)."""
        if self._long is not None:
            return self._next_long()
        if len(self._buffer) < _LENGTH.size:
            return None
        (length,) = _LENGTH.unpack_from(self._buffer)
        if length == 0:
            raise ProtocolError(CloseCode.PROTOCOL_ERROR, "a message of no bytes")
        check_length(length, limit)
        end = _LENGTH.size + length
        if len(self._buffer) < end:
            if length > LONG_BYTES:
                self._long = _Arriving(length)
                del self._buffer[: _LENGTH.size]
                self._long.take(bytes(self._buffer))
                self._buffer.clear()
            return None
        with memoryview(self._buffer) as view:
            message = bytes(view[_LENGTH.size : end])
        del self._buffer[:end]
        return message

    def _next_long(self) -> Pieces | None:
        long = self._long
        if long is None or long.missing:
            return None
        self._long = None
        return long.pieces()

    def wrap(self, message: bytes) -> bytes:
        return _LENGTH.pack(len(message)) + message


class Whole:
    """Messages that arrive and leave whole (WebSocket)."""

    __slots__ = ("_messages", "partial_bytes")

    def __init__(self) -> None:
        self._messages: deque[bytes] = deque()
        self.partial_bytes = 0
        """Set by who makes messages whole: what has arrived of those that have not been fed."""

    @property
    def partial(self) -> bool:
        return self.partial_bytes > 0

    def feed(self, data: bytes) -> None:
        self._messages.append(data)

    def next(self, *, limit: int) -> bytes | Pieces | None:
        if not self._messages:
            return None
        check_length(len(self._messages[0]), limit)
        return self._messages.popleft()

    def wrap(self, message: bytes) -> bytes:
        return message
