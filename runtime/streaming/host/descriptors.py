"""File descriptors: enough of them, and what happens when there are none left."""

from __future__ import annotations

import asyncio
import logging
import resource
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

log = logging.getLogger(__name__)

_NO_ACCEPT: Final = "socket.accept() out of system resource"
"""asyncio's own words (`selector_events.py`)."""
_QUIET_SECONDS: Final = 0.5
"""asyncio says so once for each connection of its backlog, and tries again after a second."""


def raise_limit(wanted: int) -> int:
    """Raise this process's own limit of open files to `wanted` where it is lower and may be raised;
    returns what it is then."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return wanted if soft == resource.RLIM_INFINITY else soft
    reachable = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (reachable, hard))
    return reachable


def make_room_when_exhausted(evict: Callable[[], int]) -> None:
    """On the running loop: when no connection can be accepted for want of descriptors, `evict`
    ends some that have shown no token (it returns how many) and one line says so.

    Without, asyncio logs a traceback for each of up to `backlog` connections every second, and
    newcomers wait until idle ones have run out of time.
    """
    quiet_until = 0.0

    def handle(loop: asyncio.AbstractEventLoop, context: Mapping[str, Any]) -> None:
        nonlocal quiet_until
        if context.get("message") != _NO_ACCEPT:
            loop.default_exception_handler(dict(context))
            return
        now = time.monotonic()
        if now < quiet_until:
            return
        quiet_until = now + _QUIET_SECONDS
        log.warning(
            "no connection can be accepted",
            extra={"reason": str(context.get("exception")), "evicted": evict()},
        )

    asyncio.get_running_loop().set_exception_handler(handle)
