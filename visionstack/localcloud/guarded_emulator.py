"""MiniStack behind a guard that answers its user's programs, and pages by CORS settings only.

And with a /tmp of its own for each of its functions' environments.

MiniStack itself answers any Host and any Origin and allows every page to read the answer, so
whoever's page is open in a browser could create and run functions here. It asks for no password, so
whoever else works on this machine could do so too, with all the rights of the user who started it.
Runs by itself in the
embedded cloud's environment, which has MiniStack and nothing of this project.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import Any, Final

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

NAMES: Final = frozenset({"127.0.0.1", "localhost", "[::1]"})
OWN_SITES: Final = frozenset({"same-origin", "none"})
"""`Sec-Fetch-Site` of a page served here, and of an address that the user typed."""


BucketCors = Callable[[str, str, dict[str, str]], dict[str, str]]
"""Bucket, method and request headers to what the bucket's CORS rules allow: answer headers."""
API_PATH: Final = re.compile(r"/_aws/execute-api/[a-z0-9]+/[A-Za-z0-9_-]+/.*", re.DOTALL)
"""Id and stage of a deployed API. What only begins so MiniStack takes for a call of any service, by
its other headers, and lets every page read the answer."""


def asks_a_deployed_api(scope: Scope) -> bool:
    """Whether the request is for a deployed REST API, which says itself what pages it lets in.

    Its preflight is answered by the API's own OPTIONS methods. A page can send a key only after a
    preflight that allowed it; what a page can send without one goes no further.
    """
    if not API_PATH.fullmatch(scope["path"]) or ".." in scope["path"]:
        return False
    return scope["method"] == "OPTIONS" or bool(_values(list(scope["headers"]), b"x-api-key"))


def bucket_that_lets_in(scope: Scope, bucket_cors: BucketCors) -> dict[str, str]:
    """The CORS headers of an upload by form (POST) whose bucket allows the page; else nothing."""
    name = scope["path"].strip("/")
    headers = list(scope["headers"])
    form = _values(headers, b"content-type")[:1]
    if scope["method"] != "POST" or "/" in name or not name or scope.get("query_string"):
        return {}
    if not form or not form[0].startswith("multipart/form-data"):
        return {}
    origins = _values(headers, b"origin")
    return bucket_cors(name, "POST", {"origin": origins[0]}) if len(origins) == 1 else {}


def reason_to_refuse(headers: list[tuple[bytes, bytes]], *, pages: bool = False) -> str | None:
    """Why a request with these headers is not answered; None when it is. `pages` lets any in.

    The Host has to be a name of this machine, or a page whose own name was made to point here
    (DNS rebinding) would count as the same origin. An Origin, which browsers send with whatever
    is not a plain navigation, has to be this address itself. Programs send no Origin.
    """
    hosts = _values(headers, b"host")
    if len(hosts) != 1 or not _of_this_machine(hosts[0]):
        return f"the Host {', '.join(hosts) or '(none)'} is not this machine"
    if pages:
        return None
    own = {f"http://{hosts[0]}", f"https://{hosts[0]}"}
    for origin in _values(headers, b"origin"):
        if origin.lower() not in own:
            return f"the request comes from a page of {origin}"
    for site in _values(headers, b"sec-fetch-site"):
        if site not in OWN_SITES:
            return f"the request comes from another page ({site})"
    return None


_CONNECTIONS: Final = Path("/proc/net/tcp")


def user_at(client: tuple[str, int], server: tuple[str, int]) -> int | None:
    """Whose the other end is of a connection within this machine, by Linux's table (proc_net_tcp).

    None where that is not told: on another system, and for an end that its program has closed
    already, which the table gives to root.
    """
    try:
        lines = _CONNECTIONS.read_text("ascii").splitlines()[1:]
    except OSError:
        return None
    wanted = [_as_listed(client), _as_listed(server)]
    for line in lines:
        fields = line.split()
        if fields[1:3] == wanted:
            return int(fields[7]) if fields[9] != "0" else None
    return None


def _as_listed(address: tuple[str, int]) -> str:
    """An IPv4 address and port as the table has them: the number in this machine's byte order."""
    number = int.from_bytes(socket.inet_aton(address[0]), sys.byteorder)
    return f"{number:08X}:{address[1]:04X}"


def users_are_told() -> bool:
    """Whether this system says whose a connection is, tried with one of our own."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        place = server.getsockname()
        with socket.create_connection(place) as client:
            return user_at(client.getsockname(), place) == os.getuid()


def admits_its_user(scope: Scope) -> bool:
    """Whether a request comes from the user who runs this, or from root, who needs no leave."""
    client, server = scope.get("client"), scope.get("server")
    if client is None or server is None:
        return False
    return user_at((client[0], client[1]), (server[0], server[1])) in {0, os.getuid()}


def guarded(
    app: App,
    *,
    bucket_cors: BucketCors = lambda *_: {},
    admits: Callable[[Scope], bool] = lambda _: True,
) -> App:
    """`app`, with refused requests answered by 403 and without its CORS headers.

    A deployed API, and a bucket for uploads, let in the pages that their own CORS settings name.
    `admits` says whether the program that asks may.
    """

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in {"http", "websocket"}:
            await app(scope, receive, send)
            return
        if scope["type"] == "http":
            to_api = asks_a_deployed_api(scope)
            allowed = bucket_that_lets_in(scope, bucket_cors)
        else:
            to_api, allowed = False, {}
        reason = reason_to_refuse(list(scope["headers"]), pages=to_api or bool(allowed))
        if not admits(scope):
            reason = "the request comes from another user of it"
        if reason is None and to_api:
            await app(scope, receive, send)
        elif reason is None:
            await app(scope, receive, _with_cors(send, allowed))
        elif scope["type"] == "websocket":
            # Closed before it was accepted, which the server tells as a 403.
            await send({"type": "websocket.close", "code": 1008, "reason": reason[:100]})
        else:
            await _refuse(send, reason)

    return answer


def _with_cors(send: Send, allowed: dict[str, str]) -> Send:
    """With these CORS headers instead of MiniStack's, which allow everything."""

    async def passed_on(message: Message) -> None:
        if "headers" in message:
            message["headers"] = [
                (name, value)
                for name, value in message["headers"]
                if not name.lower().startswith(b"access-control-")
            ] + [(name.encode(), value.encode()) for name, value in allowed.items()]
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


class ProcessesWithOwnTmp:
    """`subprocess`, whose processes with a working folder have TMPDIR to themselves, beside it.

    MiniStack starts an environment in `…/code` and removes the folder above with it. All of them
    would share one TMPDIR, and what the first fetched from S3 would be there for the next: a cold
    start that Lambda, whose environments each have a /tmp, does not have.
    """

    def __getattr__(self, name: str) -> Any:
        return getattr(subprocess, name)

    def Popen(  # noqa: N802  subprocess' own name
        self,
        command: Sequence[str],
        *,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        **options: Any,
    ) -> Any:
        """As `subprocess.Popen`."""
        if cwd is not None and env is not None:
            own = Path(cwd).parent / "tmp"
            own.mkdir(exist_ok=True)
            env = {**env, "TMPDIR": str(own)}
        return subprocess.Popen(command, cwd=cwd, env=env, **options)


def main() -> None:
    """MiniStack's own main program, with its application behind the guard."""
    os.umask(0o077)
    environments: Any = importlib.import_module("ministack.core.lambda_runtime")
    environments.subprocess = ProcessesWithOwnTmp()
    ministack: Any = importlib.import_module("ministack.app")
    s3: Any = importlib.import_module("ministack.services.s3")
    own_only = os.environ.get("VISIONSTACK_CLOUD_USERS") != "any" and users_are_told()
    ministack.app = guarded(
        ministack.app,
        bucket_cors=s3.cors_response_headers,
        admits=admits_its_user if own_only else lambda _: True,
    )
    ministack.main()


if __name__ == "__main__":
    main()
