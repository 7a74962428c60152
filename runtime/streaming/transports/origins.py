"""Which web pages may speak to the server: its own, and those of one origin that is named."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import SplitResult, urlsplit

from runtime.protocol.loopback import is_loopback

_PORTS = {"http": 80, "https": 443}


def refusal(
    *, host: Sequence[str], origin: Sequence[str], loopback: bool, admitted: str = ""
) -> str | None:
    """Why a request with these headers is refused; None when it is not.

    On loopback the Host must be a loopback name or address: a page whose own name was made to
    resolve to 127.0.0.1 (DNS rebinding) says its own. What is no browser sends no Origin.
    `admitted` is an origin whose pages are as welcome as the server's own.
    """
    try:
        (one,) = host
        here = urlsplit(f"//{one}")
        if not here.hostname or "@" in one:
            return "the request names no host"
        if loopback and not is_loopback(here.hostname):
            return "this server is reached as localhost only"
        if not origin:
            return None
        (page,) = origin
        if admitted and page == admitted:
            return None
        there = urlsplit(page)
        same = there.scheme in _PORTS and (here.hostname, _port(here, there.scheme)) == (
            there.hostname,
            _port(there, there.scheme),
        )
    except ValueError:
        return "Host or Origin cannot be read"
    return None if same else "pages of other origins are refused"


def _port(parts: SplitResult, scheme: str) -> int:
    return parts.port or _PORTS[scheme]
