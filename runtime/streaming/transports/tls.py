"""TLS before the protocol, in which a connection counts among the pending handshakes."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import cast

from runtime.streaming.sessions.registry import Registry


def behind_tls(
    inner: Callable[[], asyncio.Protocol], registry: Registry, context: ssl.SSLContext | None
) -> Callable[[], asyncio.Protocol]:
    """Makes what accepted connections begin with; `inner` makes what they are for."""
    return inner if context is None else lambda: _TlsHandshake(inner, registry, context)


class _TlsHandshake(asyncio.Protocol):
    """One accepted connection until its TLS handshake is done.

    asyncio's own way (`create_server(ssl=…)`) tells nobody of a connection before that, so that
    idle ones could be held in any number.
    """

    def __init__(
        self, inner: Callable[[], asyncio.Protocol], registry: Registry, context: ssl.SSLContext
    ) -> None:
        self._inner = inner
        self._registry = registry
        self._context = context
        self._handshake: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        raw = cast(asyncio.Transport, transport)
        name = raw.get_extra_info("peername")
        address = str(name[0]) if name else "?"
        self._registry.pending.enter(self, address=address, evict=raw.abort)
        self._handshake = asyncio.get_running_loop().create_task(self._shake_hands(raw))

    async def _shake_hands(self, raw: asyncio.Transport) -> None:
        early = _EarlyData()
        try:
            secured = await asyncio.get_running_loop().start_tls(
                raw,
                early,
                self._context,
                server_side=True,
                ssl_handshake_timeout=self._registry.handshake_seconds,
            )
        except OSError:
            # Too slow, no TLS, gone or evicted: the ordinary day of an open port.
            raw.abort()
            return
        finally:
            self._registry.pending.leave(self)
        if secured is None:
            return
        early.hand_over(self._inner(), secured)


class _EarlyData(asyncio.Protocol):
    """Keeps what comes between the end of the handshake and the protocol's beginning."""

    def __init__(self) -> None:
        self._received: list[bytes] = []
        self._lost = False

    def data_received(self, data: bytes) -> None:
        self._received.append(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = True

    def hand_over(self, protocol: asyncio.Protocol, transport: asyncio.Transport) -> None:
        if self._lost:
            return
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        for data in self._received:
            if transport.is_closing():
                break
            protocol.data_received(data)
