"""WebSocket for browsers, and beside it on the same port health, metrics and a page.

A binary WebSocket message is one protocol message; nothing else is added.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from http import HTTPStatus
from importlib.resources import files

from websockets.asyncio.server import ServerConnection as WebSocket
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from runtime.protocol.errors import CloseCode, ProtocolError
from runtime.streaming.sessions.connection import Connection
from runtime.streaming.sessions.registry import Registry

STREAM_PATH = "/stream"
Page = Callable[[], tuple[HTTPStatus, str, bytes]]
"""Status, content type and body of a GET."""


class WebSocketLink:
    """One upgraded connection."""

    def __init__(self, registry: Registry, socket: WebSocket) -> None:
        self._limits = registry.limits
        self._socket = socket
        self._connection = Connection(registry, self)
        self._outbox: asyncio.Queue[bytes | CloseCode] = asyncio.Queue()
        self._unsent = 0
        self._reading = asyncio.Event()
        self._reading.set()
        self._held = False
        self.stalled_since: float | None = None
        self.partial_since: float | None = None

    @property
    def address(self) -> str:
        name = self._socket.remote_address
        return f"{name[0]}:{name[1]}" if name else "?"

    async def run(self) -> None:
        """Until the connection ends."""
        self._connection.connected()
        writer = asyncio.create_task(self._write())
        try:
            while True:
                await self._reading.wait()
                message = await self._socket.recv(decode=False)
                if len(message) > self._connection.message_limit:
                    self._connection.fail(
                        ProtocolError(
                            CloseCode.MESSAGE_TOO_LARGE, f"a message of {len(message)} bytes"
                        )
                    )
                self._connection.received(bytes(message))
        except ConnectionClosed:
            self._connection.lost()
        finally:
            await writer

    def send(self, message: bytes) -> None:
        self._unsent += len(message)
        self._outbox.put_nowait(message)
        if self._unsent > self._limits.unsent_bytes and self.stalled_since is None:
            self.stalled_since = time.monotonic()
            self._read_or_not()

    def hold(self, holding: bool) -> None:
        self._held = holding
        self._read_or_not()

    def close(self, code: CloseCode, *, abort: bool) -> None:
        if abort:
            self._socket.transport.abort()
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
        else:
            self._reading.set()


class HttpPages:
    """Answers plain GETs on the WebSocket port."""

    def __init__(self, *, healthz: Page, readyz: Page, metrics: Page) -> None:
        self._pages: dict[str, Page] = {
            "/healthz": healthz,
            "/readyz": readyz,
            "/metrics": metrics,
            "/": _asset("index.html", "text/html; charset=utf-8"),
            "/camera.css": _asset("camera.css", "text/css; charset=utf-8"),
            "/camera.js": _asset("camera.js", "text/javascript; charset=utf-8"),
            "/protocol.js": _asset("protocol.js", "text/javascript; charset=utf-8"),
        }

    def __call__(self, socket: WebSocket, request: Request) -> Response | None:
        """None lets the WebSocket handshake go on."""
        path = request.path.partition("?")[0]
        if path == STREAM_PATH:
            return None
        page = self._pages.get(path)
        if page is None:
            return _response(HTTPStatus.NOT_FOUND, "text/plain", b"no such page\n")
        return _response(*page())


def _asset(name: str, content_type: str) -> Page:
    body = files("runtime.streaming.transports").joinpath("page", name).read_bytes()
    return lambda: (HTTPStatus.OK, content_type, body)


def _response(status: HTTPStatus, content_type: str, body: bytes) -> Response:
    headers = Headers(
        {
            "Content-Type": content_type,
            "Content-Length": str(len(body)),
            "Connection": "close",
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            # Safari does not count a WebSocket of the same host as 'self'.
            "Content-Security-Policy": "default-src 'self'; connect-src 'self' ws: wss:; "
            "frame-ancestors 'none'",
            "Permissions-Policy": "camera=(self)",
        }
    )
    return Response(int(status), status.phrase, headers, body)
