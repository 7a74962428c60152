"""Raw TCP, plain or under TLS: length-prefixed messages."""

from __future__ import annotations

import asyncio
import time
from typing import cast

from runtime.protocol.errors import CloseCode
from runtime.protocol.framing import LengthPrefixed
from runtime.streaming.sessions.connection import Connection
from runtime.streaming.sessions.registry import Registry


class TcpLink(asyncio.Protocol):
    """One accepted connection."""

    def __init__(self, registry: Registry) -> None:
        self._limits = registry.limits
        self._unsent_bytes = registry.limits.unsent_bytes
        self._connection = Connection(registry, self, framing=LengthPrefixed())
        self._transport: asyncio.Transport | None = None
        self.stalled_since: float | None = None
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
        self._connection.received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._connection.lost()

    def pause_writing(self) -> None:
        self.stalled_since = time.monotonic()
        self._read_or_not()

    def resume_writing(self) -> None:
        self.stalled_since = None
        self._read_or_not()

    def send(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

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
            # What it does not read would keep the socket open for ever.
            asyncio.get_running_loop().call_later(
                self._limits.linger_seconds, self._transport.abort
            )

    def _read_or_not(self) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        if self._held or self.stalled_since is not None:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()
