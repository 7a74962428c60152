"""Raw TCP, plain or under TLS: length-prefixed messages."""

from __future__ import annotations

import asyncio
import time
from typing import cast

from runtime.protocol.errors import CloseCode, ProtocolError
from runtime.protocol.framing import MessageReader, frame_message
from runtime.streaming.sessions.connection import Connection
from runtime.streaming.sessions.registry import Registry


class TcpLink(asyncio.Protocol):
    """One accepted connection."""

    def __init__(self, registry: Registry) -> None:
        self._unsent_bytes = registry.limits.unsent_bytes
        self._connection = Connection(registry, self)
        self._reader = MessageReader(limit=self._connection.message_limit)
        self._transport: asyncio.Transport | None = None
        self.stalled_since: float | None = None
        self.partial_since: float | None = None
        self._held = False

    @property
    def address(self) -> str:
        name = self._transport.get_extra_info("peername") if self._transport else None
        return f"{name[0]}:{name[1]}" if name else "?"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=self._unsent_bytes)
        self._connection.connected()

    def data_received(self, data: bytes) -> None:
        try:
            for message in self._reader.feed(data):
                self._connection.received(message)
                self._reader.limit = self._connection.message_limit
                self.partial_since = None
        except ProtocolError as error:
            self._connection.fail(error)
        if not self._reader.partial:
            self.partial_since = None
        elif self.partial_since is None:
            self.partial_since = time.monotonic()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._connection.lost()

    def pause_writing(self) -> None:
        self.stalled_since = time.monotonic()
        self._read_or_not()

    def resume_writing(self) -> None:
        self.stalled_since = None
        self._read_or_not()

    def send(self, message: bytes) -> None:
        if self._transport is not None:
            self._transport.write(frame_message(message))

    def hold(self, holding: bool) -> None:
        self._held = holding
        self._read_or_not()

    def close(self, code: CloseCode, *, abort: bool) -> None:
        if self._transport is None:
            return
        if abort:
            self._transport.abort()
        else:
            self._transport.close()

    def _read_or_not(self) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        if self._held or self.stalled_since is not None:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()
