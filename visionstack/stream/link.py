"""One TCP connection of the client: TLS with a pinned certificate, bytes in and out."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import ssl
import time
from collections.abc import Callable
from typing import cast

from runtime.protocol.errors import ProtocolError
from runtime.protocol.loopback import is_loopback
from visionstack.stream.errors import StreamError
from visionstack.stream.types import EndpointLike


class StreamLink(asyncio.Protocol):
    """`received` gets what arrives; `lost` is called once, when the connection has ended."""

    def __init__(
        self, *, received: Callable[[bytes], None], lost: Callable[[StreamLink], None]
    ) -> None:
        self._received = received
        self._lost = lost
        self._transport: asyncio.Transport | None = None
        self.heard = time.monotonic()
        self.ended = asyncio.Event()
        self.trouble: ProtocolError | None = None
        """How the server broke the protocol, which ended the connection."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.heard = time.monotonic()
        try:
            self._received(data)
        except ProtocolError as error:
            self.trouble = error
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self.ended.set()
        self._lost(self)

    def send(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    def close(self) -> None:
        """End it after what was sent."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """End it now."""
        if self._transport is not None:
            self._transport.abort()

    def hold(self, holding: bool) -> None:
        """Stop reading, or go on."""
        if self._transport is None or self._transport.is_closing():
            return
        if holding:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    @property
    def certificate(self) -> bytes | None:
        """The server's certificate, DER; None without TLS."""
        tls = self._transport.get_extra_info("ssl_object") if self._transport else None
        return tls.getpeercert(binary_form=True) if tls is not None else None


async def connect(
    endpoint: EndpointLike,
    *,
    received: Callable[[bytes], None],
    lost: Callable[[StreamLink], None],
    timeout: float,
) -> StreamLink:
    """Raises OSError when nobody answers in time, StreamError when it is the wrong server."""
    loop = asyncio.get_running_loop()
    context = _context(endpoint)
    try:
        async with asyncio.timeout(timeout):
            _, link = await loop.create_connection(
                lambda: StreamLink(received=received, lost=lost),
                endpoint.host,
                endpoint.port,
                ssl=context,
            )
    except TimeoutError as error:
        raise OSError(f"no connection within {timeout:g} s") from error
    if endpoint.fingerprint is not None:
        shown = hashlib.sha256(link.certificate or b"").hexdigest()
        wanted = endpoint.fingerprint.replace(":", "").strip().lower()
        # Before the hello, which carries the token.
        if not hmac.compare_digest(shown, wanted):
            link.abort()
            raise StreamError(
                f"{endpoint.host}:{endpoint.port} shows a certificate with fingerprint {shown}, "
                f"not {wanted}.",
                remedy="If the server's token was changed, take the new fingerprint; "
                "otherwise somebody else is answering.",
            )
    return link


def _context(endpoint: EndpointLike) -> ssl.SSLContext | None:
    if endpoint.fingerprint is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        # The certificate is its own authority: it is compared with the fingerprint instead.
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    return None if is_loopback(endpoint.host) else ssl.create_default_context()
