"""A TCP forwarder on loopback that stands for a Network Load Balancer.

New connections go round-robin to the healthy instances; a connection stays with its instance, and
whichever end stops reading stops the other from being read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

HOST: Final = "127.0.0.1"
CONNECT_TIMEOUT_S: Final = 5
Targets = Callable[[], Sequence[int]]
"""The ports of the instances that may get a new connection, now."""


class Balancer:
    """Listens on a free port of loopback. `targets` is asked at each new connection."""

    def __init__(self, targets: Targets) -> None:
        self._targets = targets
        self._turn = 0
        self._server: asyncio.Server | None = None
        self._pipes: set[_Pipe] = set()

    @property
    def port(self) -> int:
        """Where it listens; 0 before `start`."""
        if self._server is None or not self._server.sockets:
            return 0
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._accept, HOST, 0)

    def close(self) -> None:
        """Stop listening and cut every connection."""
        if self._server is not None:
            self._server.close()
        for pipe in list(self._pipes):
            pipe.abort()

    def _accept(self) -> asyncio.Protocol:
        pipe = _Pipe(self._next_targets(), self._pipes.discard)
        self._pipes.add(pipe)
        return pipe

    def _next_targets(self) -> list[int]:
        ports = list(self._targets())
        if not ports:
            return []
        self._turn += 1
        first = self._turn % len(ports)
        return ports[first:] + ports[:first]


class _Pipe(asyncio.Protocol):
    """The client's half of a connection; owns the server's half."""

    def __init__(self, ports: list[int], gone: Callable[[_Pipe], None]) -> None:
        self._ports = ports
        self._gone = gone
        self._client: asyncio.Transport | None = None
        self._far: _FarSide | None = None
        self._connecting: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - a TCP server makes no other
        self._client = transport
        transport.pause_reading()
        self._connecting = asyncio.get_running_loop().create_task(self._connect(transport))

    async def _connect(self, client: asyncio.Transport) -> None:
        loop = asyncio.get_running_loop()
        for port in self._ports:
            try:
                async with asyncio.timeout(CONNECT_TIMEOUT_S):
                    _, self._far = await loop.create_connection(
                        lambda: _FarSide(client), HOST, port
                    )
            except (OSError, TimeoutError):
                continue
            if client.is_closing():
                self._far.close()
            else:
                client.resume_reading()
            return
        client.abort()

    def data_received(self, data: bytes) -> None:
        if self._far is not None:
            self._far.write(data)

    def eof_received(self) -> bool:
        if self._far is not None:
            self._far.write_eof()
        return True

    def pause_writing(self) -> None:
        if self._far is not None:
            self._far.pause_reading()

    def resume_writing(self) -> None:
        if self._far is not None:
            self._far.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._connecting is not None:
            self._connecting.cancel()
        if self._far is not None:
            self._far.close()
        self._gone(self)

    def abort(self) -> None:
        if self._client is not None:
            self._client.abort()


class _FarSide(asyncio.Protocol):
    """The instance's half of a connection."""

    def __init__(self, client: asyncio.Transport) -> None:
        self._client = client
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - a TCP connection makes none
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if not self._client.is_closing():
            self._client.write(data)

    def eof_received(self) -> bool:
        if not self._client.is_closing() and self._client.can_write_eof():
            self._client.write_eof()
        return True

    def pause_writing(self) -> None:
        if not self._client.is_closing():
            self._client.pause_reading()

    def resume_writing(self) -> None:
        if not self._client.is_closing():
            self._client.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        # After a reset nothing that is still buffered matters: the client is to notice at once.
        if exc is not None:
            self._client.abort()
        else:
            self._client.close()

    def write(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def write_eof(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write_eof()

    def pause_reading(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()
