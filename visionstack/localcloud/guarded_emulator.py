"""MiniStack behind a guard that answers this machine's programs and no web page.

MiniStack itself answers any Host and any Origin and allows every page to read the answer, so
whoever's page is open in a browser could create and run functions here. Runs by itself in the
embedded cloud's environment, which has MiniStack and nothing of this project.
"""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

NAMES: Final = frozenset({"127.0.0.1", "localhost", "[::1]"})
OWN_SITES: Final = frozenset({"same-origin", "none"})
"""`Sec-Fetch-Site` of a page served here, and of an address that the user typed."""


def reason_to_refuse(headers: list[tuple[bytes, bytes]]) -> str | None:
    """Why a request with these headers is not answered; None when it is.

    The Host has to be a name of this machine, or a page whose own name was made to point here
    (DNS rebinding) would count as the same origin. An Origin, which browsers send with whatever
    is not a plain navigation, has to be this address itself. Programs send no Origin.
    """
    hosts = _values(headers, b"host")
    if len(hosts) != 1 or not _of_this_machine(hosts[0]):
        return f"the Host {', '.join(hosts) or '(none)'} is not this machine"
    own = {f"http://{hosts[0]}", f"https://{hosts[0]}"}
    for origin in _values(headers, b"origin"):
        if origin.lower() not in own:
            return f"the request comes from a page of {origin}"
    for site in _values(headers, b"sec-fetch-site"):
        if site not in OWN_SITES:
            return f"the request comes from another page ({site})"
    return None


def guarded(app: App) -> App:
    """`app`, with refused requests answered by 403 and without its CORS headers."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in {"http", "websocket"}:
            await app(scope, receive, send)
            return
        reason = reason_to_refuse(list(scope["headers"]))
        if reason is None:
            await app(scope, receive, _without_cors(send))
        elif scope["type"] == "websocket":
            # Closed before it was accepted, which the server tells as a 403.
            await send({"type": "websocket.close", "code": 1008, "reason": reason[:100]})
        else:
            await _refuse(send, reason)

    return answer


def _without_cors(send: Send) -> Send:
    async def passed_on(message: Message) -> None:
        if "headers" in message:
            message["headers"] = [
                (name, value)
                for name, value in message["headers"]
                if not name.lower().startswith(b"access-control-")
            ]
        await send(message)

    return passed_on


async def _refuse(send: Send, reason: str) -> None:
    message = f"The embedded cloud answers programs of this machine only: {reason}."
    body = json.dumps({"__type": "AccessDeniedException", "message": message}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
    ]
    await send({"type": "http.response.start", "status": 403, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _of_this_machine(host: str) -> bool:
    name, colon, port = host.rpartition(":")
    if not (colon and port.isdecimal()):
        name = host
    return name in NAMES or name.endswith(".localhost")


def _values(headers: list[tuple[bytes, bytes]], wanted: bytes) -> list[str]:
    return [
        value.decode("latin-1").strip().lower() for name, value in headers if name.lower() == wanted
    ]


def main() -> None:
    """MiniStack's own main program, with its application behind the guard."""
    os.umask(0o077)
    ministack: Any = importlib.import_module("ministack.app")
    ministack.app = guarded(ministack.app)
    ministack.main()


if __name__ == "__main__":
    main()
