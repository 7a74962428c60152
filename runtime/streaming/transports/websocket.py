"""WebSocket for browsers, and beside it on the same port health, metrics and a page.

A binary WebSocket message is one protocol message; nothing else is added.
"""

from __future__ import annotations

import asyncio
import functools
import ssl
import time
from collections.abc import Callable, Generator
from http import HTTPStatus
from typing import Any, Final, cast

from websockets.asyncio.server import ServerConnection as WebSocket
from websockets.exceptions import ConnectionClosed
from websockets.frames import DATA_OPCODES, Frame
from websockets.http11 import Request, Response
from websockets.protocol import Event, State

from runtime.protocol.errors import CloseCode, ProtocolError
from runtime.protocol.framing import Whole
from runtime.protocol.limits import HANDSHAKE_BYTES
from runtime.streaming.memory import MemoryBudget
from runtime.streaming.sessions.admission import TokenBucket
from runtime.streaming.sessions.connection import Connection
from runtime.streaming.sessions.registry import Registry
from runtime.streaming.transports.origins import refusal
from runtime.streaming.transports.page.serving import PageFiles, respond
from runtime.streaming.transports.tls import behind_tls

STREAM_PATH = "/stream"
Page = Callable[[], tuple[HTTPStatus, str, bytes]]
"""Status, content type and body of a GET."""


_PIECE: Final = 4096
_HANDSHAKE_PIECE: Final = 256
"""Bytes that are read before it is asked whether the connection has ended, more of one frame aside;
256 bytes hold 42 pings, which take half a millisecond of the event loop."""

_REQUEST_BYTES: Final = 32 * 1024
"""Longest request with its headers, and all that comes until its answer has left. The library alone
would keep a mebibyte of headers for each connection."""

_FILE_COPIES: Final = 3
"""Of a file on its way: the answer's, the one with the head before it, what is not sent of that."""


class StreamSocket(WebSocket):
    """Knows how much it holds of messages that nobody has received yet, and ends a connection that
    sends more pings and pongs of WebSocket's own, or more fragments without a byte, than the
    protocol's own pings may be."""

    on_data: Callable[[], None] | None = None
    """Called when something has arrived."""
    on_lost: Callable[[], None] | None = None
    """Called when the connection is gone."""
    _whole = 0
    _empty: TokenBucket | None = None
    _requested = 0
    """Bytes until the connection was upgraded."""
    _kept = b""
    """Came while enough messages waited to be received."""
    _awaited = 0
    """Bytes that the library's parser is waiting for; 0 between two frames."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        reader = self.protocol.reader
        read_exact = reader.read_exact

        def noted(n: int) -> Generator[None, None, bytearray]:
            self._awaited = n
            read = yield from read_exact(n)
            self._awaited = 0
            return read

        # It has no public way of telling how much of a frame is missing.
        reader.read_exact = noted  # type: ignore[method-assign]

    @property
    def unreceived(self) -> int:
        """Bytes, those of a frame that is not complete included."""
        return self._whole + len(self.protocol.reader.buffer) + len(self._kept)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.recv_messages.resume = self._resumed

    async def receive(self) -> bytes | str:
        """The next message. Raises ConnectionClosed."""
        message = await self.recv()
        self._whole -= len(message.encode() if isinstance(message, str) else message)
        return message

    def process_event(self, event: Event) -> None:
        if isinstance(event, Frame):
            carried = len(event.data) if event.opcode in DATA_OPCODES else 0
            self._whole += carried
            if not carried and self._empty and not self._empty.take(time.monotonic()):
                self.transport.abort()
        super().process_event(event)

    def data_received(self, data: bytes) -> None:
        if self.protocol.state is State.CONNECTING:
            self._requested += len(data)
            if self._requested > _REQUEST_BYTES:
                self.transport.abort()
                return
        self._kept += data
        self._go_on()

    def _resumed(self) -> None:
        self.transport.resume_reading()
        if self._kept:
            # In a later turn of the loop, as one read holds tens of thousands of small messages.
            self.loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        data, self._kept = self._kept, b""
        # Whoever has shown no token may connect as often as it likes, so each time has to be short.
        trusted = (self.protocol.max_message_size or 0) > HANDSHAKE_BYTES
        least = _PIECE if trusted else _HANDSHAKE_PIECE
        begin = 0
        while begin < len(data) and not self.transport.is_closing():
            if self.recv_messages.paused:
                self._kept = data[begin:]
                break
            missing = self._awaited - len(self.protocol.reader.buffer)
            # After the last frame, a refused one for example, the library throws away what comes.
            end = len(data) if self.protocol.eof_sent else begin + max(least, missing)
            super().data_received(data[begin:end])
            begin = end
        if self.on_data is not None:
            self.on_data()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self.on_lost is not None:
            self.on_lost()


def counted_sockets(registry: Registry, tls: ssl.SSLContext | None) -> type[WebSocket]:
    """Connections that are among the pending handshakes before they are upgraded as well, and
    while TLS begins."""

    class Counted(StreamSocket):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            limits = registry.limits
            self._empty = TokenBucket(rate=limits.pings_per_second, burst=limits.ping_burst)
            name = transport.get_extra_info("peername")
            registry.pending.enter(
                self, address=str(name[0]) if name else "?", evict=self.transport.abort
            )

        def connection_lost(self, exc: Exception | None) -> None:
            registry.pending.leave(self)
            super().connection_lost(exc)

    def make(*args: Any, **kwargs: Any) -> asyncio.Protocol:
        return behind_tls(functools.partial(Counted, *args, **kwargs), registry, tls)()

    # The library calls it and hands the result to asyncio, which wants a protocol.
    return cast(type[WebSocket], make)


class WebSocketLink:
    """One upgraded connection."""

    def __init__(self, registry: Registry, socket: StreamSocket) -> None:
        self._registry = registry
        self._limits = registry.limits
        self._socket = socket
        self._framing = Whole()
        self._connection = Connection(registry, self, framing=self._framing)
        self._outbox: asyncio.Queue[bytes | CloseCode] = asyncio.Queue()
        self._unsent = 0
        self._reading = asyncio.Event()
        self._reading.set()
        self._held = False
        self.stalled_since: float | None = None

    @property
    def address(self) -> str:
        name = self._socket.remote_address
        return f"{name[0]}:{name[1]}" if name else "?"

    async def run(self) -> None:
        """Until the connection ends."""
        self._registry.pending.leave(self._socket)
        self._connection.connected()
        self._socket.on_data = self._arrived
        writer = asyncio.create_task(self._write())
        try:
            while True:
                await self._reading.wait()
                message = await self._socket.receive()
                self._framing.partial_bytes = self._socket.unreceived
                if isinstance(message, str):
                    self._connection.fail(
                        ProtocolError(CloseCode.PROTOCOL_ERROR, "a text message, not a binary one")
                    )
                    continue
                self._connection.received(bytes(message))
                self._socket.protocol.max_message_size = self._connection.message_limit
        except ConnectionClosed:
            self._connection.lost()
        finally:
            await writer

    def send(self, data: bytes) -> None:
        self._unsent += len(data)
        self._outbox.put_nowait(data)
        if self._unsent > self._limits.unsent_bytes and self.stalled_since is None:
            self.stalled_since = time.monotonic()
            self._read_or_not()

    def hold(self, holding: bool) -> None:
        self._held = holding
        self._read_or_not()

    def close(self, code: CloseCode, *, abort: bool) -> None:
        if abort:
            self._socket.transport.abort()
        else:
            # What it does not read or answer would keep the socket open for ever.
            asyncio.get_running_loop().call_later(
                self._limits.linger_seconds, self._socket.transport.abort
            )
        self._outbox.put_nowait(code)

    async def _write(self) -> None:
        try:
            while True:
                item = await self._next()
                if isinstance(item, CloseCode):
                    await self._socket.close(int(item))
                    return
                await self._socket.send(item)
                self._unsent -= len(item)
                if self.stalled_since is not None and self._unsent <= self._limits.unsent_bytes:
                    self.stalled_since = None
                    self._read_or_not()
        except ConnectionClosed:
            return

    async def _next(self) -> bytes | CloseCode:
        """The next thing to send; CloseCode when the socket has closed meanwhile."""
        if not self._outbox.empty():
            return self._outbox.get_nowait()
        getting = asyncio.ensure_future(self._outbox.get())
        closed = asyncio.ensure_future(self._socket.wait_closed())
        done, _ = await asyncio.wait({getting, closed}, return_when=asyncio.FIRST_COMPLETED)
        closed.cancel()
        if getting in done:
            return getting.result()
        getting.cancel()
        return CloseCode.NORMAL

    def _read_or_not(self) -> None:
        if self._held or self.stalled_since is not None:
            self._reading.clear()
            # The library itself would take three messages more.
            self._socket.transport.pause_reading()
        else:
            self._reading.set()
            if not self._socket.recv_messages.paused:
                self._socket.transport.resume_reading()

    def _arrived(self) -> None:
        self._framing.partial_bytes = self._socket.unreceived
        self._connection.arriving()


def cross_origin(origin: str) -> dict[str, str]:
    """Headers by which pages of `origin` may read an answer, and ask for models with the token."""
    return {
        "Access-Control-Allow-Origin": origin,
        "Access-Control-Allow-Methods": "GET, HEAD",
        "Access-Control-Allow-Headers": "authorization, range",
        "Access-Control-Expose-Headers": "content-range",
        "Access-Control-Max-Age": "600",
        "Vary": "Origin",
    }


def _is_preflight(request: Request) -> bool:
    return request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers


class HttpPages:
    """Answers plain GETs on the WebSocket port."""

    def __init__(
        self,
        *,
        healthz: Page,
        readyz: Page,
        in_service: Page,
        metrics: Page,
        files: PageFiles,
        loopback: bool,
        page_origin: str,
        full: Callable[[], bool],
        file_bytes: int,
    ) -> None:
        self._files = files
        self._file_memory = MemoryBudget(file_bytes)
        self._loopback = loopback
        self._page_origin = page_origin
        self._full = full
        self._pages: dict[str, Page] = {
            "/healthz": healthz,
            "/readyz": readyz,
            "/in-service": in_service,
            "/metrics": metrics,
        }

    def __call__(self, socket: WebSocket, request: Request) -> Response | None:
        """None lets the WebSocket handshake go on."""
        response = self._answer(cast(StreamSocket, socket), request)
        if response is not None and _is_preflight(request) and response.status_code == 405:
            response = respond(HTTPStatus.NO_CONTENT, "text/plain", b"")
        if response is None:
            return None
        if request.method == "HEAD":
            response.body = b""
        if self._page_origin and request.headers.get_all("Origin") == [self._page_origin]:
            response.headers.update(cross_origin(self._page_origin))
        return response

    def _answer(self, socket: StreamSocket, request: Request) -> Response | None:
        headers = request.headers
        wrong = refusal(
            host=headers.get_all("Host"),
            origin=headers.get_all("Origin"),
            loopback=self._loopback,
            admitted=self._page_origin,
        )
        if wrong is not None:
            return respond(HTTPStatus.FORBIDDEN, "text/plain", f"{wrong}\n".encode())
        path = request.path.partition("?")[0]
        if request.method not in ("GET", "HEAD"):
            return respond(HTTPStatus.METHOD_NOT_ALLOWED, "text/plain", b"only GET and HEAD\n")
        if path == STREAM_PATH:
            if self._full():
                return respond(HTTPStatus.SERVICE_UNAVAILABLE, "text/plain", b"too many streams\n")
            return None
        page = self._pages.get(path)
        if page is not None:
            return respond(*page())
        return self._file(socket, path, request)

    def _file(self, socket: StreamSocket, path: str, request: Request) -> Response:
        file = self._files.answer(path, request)
        if file is None:
            return respond(HTTPStatus.NOT_FOUND, "text/plain", b"no such page\n")
        needed = _FILE_COPIES * len(file.body)
        if not self._file_memory.take(needed):
            busy = b"too many files are on their way\n"
            again = {"Retry-After": "1"}
            return respond(HTTPStatus.SERVICE_UNAVAILABLE, "text/plain", busy, again)

        def release() -> None:
            # The connection itself is in reference cycles and stays until they are collected.
            file.body = b""
            self._file_memory.give(needed)

        socket.on_lost = release
        return file
