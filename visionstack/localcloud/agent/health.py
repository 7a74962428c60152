"""The health check that a target group would make."""

from __future__ import annotations

import asyncio
import ssl
from typing import Final

TIMEOUT_S: Final = 2


async def ready(port: int, *, tls: bool) -> bool:
    """Whether `GET /readyz` on loopback answers 200. Like an NLB it checks no certificate."""
    context = None
    if tls:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    writer = None
    try:
        async with asyncio.timeout(TIMEOUT_S):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
            writer.write(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            status = await reader.readline()
    except (OSError, TimeoutError, ssl.SSLError):
        return False
    finally:
        if writer is not None:
            writer.transport.abort()
    return status.split(b" ")[1:2] == [b"200"]
