"""The health check that a target group would make."""

from __future__ import annotations

import asyncio
import ssl
from typing import Final

TIMEOUT_S: Final = 2

# Made once, and without the authorities' certificates: to read those takes 20 ms of the processor.
_UNCHECKED: Final = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
_UNCHECKED.check_hostname = False
_UNCHECKED.verify_mode = ssl.CERT_NONE


async def ready(port: int, *, tls: bool) -> bool:
    """Whether `GET /readyz` on loopback answers 200. Like an NLB it checks no certificate."""
    writer = None
    try:
        async with asyncio.timeout(TIMEOUT_S):
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", port, ssl=_UNCHECKED if tls else None
            )
            writer.write(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            status = await reader.readline()
    except (OSError, TimeoutError, ssl.SSLError):
        return False
    finally:
        if writer is not None:
            writer.transport.abort()
    return status.split(b" ")[1:2] == [b"200"]
