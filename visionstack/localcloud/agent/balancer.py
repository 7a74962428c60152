"""A TCP forwarder on loopback that stands for a Network Load Balancer.

New connections go round-robin to the healthy instances; a connection stays with its instance, and
whichever end stops reading stops the other from being read.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import Final

HOST: Final = "127.0.0.1"
CONNECT_TIMEOUT_S: Final = 5
_PIECE_BYTES: Final = 64 * 1024
Targets = Callable[[], Sequence[int]]
"""The ports of the instances that may get a new connection, now."""


class Balancer:
    """Listens on a free port of loopback. `targets` is asked at each new connection."""

    def __init__(self, targets: Targets) -> None:
        self._targets = targets
        self._turn = 0
        self._server: asyncio.Server | None = None
        self._ends: set[asyncio.StreamWriter] = set()

    @property
    def port(self) -> int:
        """Where it listens; 0 before `start`."""
        if self._server is None or not self._server.sockets:
            return 0
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, HOST, 0)

    def close(self) -> None:
        """Stop listening and cut every connection."""
        if self._server is not None:
            self._server.close()
        for end in self._ends:
            end.transport.abort()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ends, whole = [writer], False
        try:
            self._ends.add(writer)
            far_reader, far_writer = await self._connect()
            ends.append(far_writer)
            self._ends.add(far_writer)
            await asyncio.gather(_carry(reader, far_writer), _carry(far_reader, writer))
            whole = True
        except (OSError, asyncio.CancelledError):
            pass  # no instance answered, one end is gone, or the loop ends
        finally:
            self._ends.difference_update(ends)
            for end in ends:
                if whole:
                    end.close()
                else:
                    end.transport.abort()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """To the next instance that answers. Raises OSError where none does."""
        ports = list(self._targets())
        self._turn += 1
        first = self._turn % max(1, len(ports))
        for port in ports[first:] + ports[:first]:
            with contextlib.suppress(OSError):
                async with asyncio.timeout(CONNECT_TIMEOUT_S):
                    return await asyncio.open_connection(HOST, port)
        raise ConnectionRefusedError("no instance answers")


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One direction to its end, no faster than it is read."""
    while data := await reader.read(_PIECE_BYTES):
        writer.write(data)
        await writer.drain()
    writer.write_eof()
