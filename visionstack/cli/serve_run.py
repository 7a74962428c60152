"""`visionstack serve`: a streaming server on this machine, without any cloud."""

from __future__ import annotations

import asyncio
import errno
import re
import secrets
import shlex
import signal
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from rich.markup import escape

from runtime.contract import Tls
from runtime.protocol.errors import StreamingError
from runtime.protocol.loopback import is_loopback
from runtime.streaming.errors import EngineBrokenError
from runtime.streaming.host.descriptors import make_room_when_exhausted, raise_limit
from runtime.streaming.memory import exempt_from_collection
from runtime.streaming.server import Server
from runtime.streaming.settings import Settings
from visionstack import console, paths
from visionstack.cli.page import WARNING_STEPS, bracketed, page_address, show_qr_code, tell_opened
from visionstack.errors import VisionstackError

ANY_ADDRESS: Final = "0.0.0.0"  # noqa: S104 (asked for by name: --phone, --host)
_WILDCARDS: Final = (ANY_ADDRESS, "::", "")

_DNS_NAME: Final = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.?)+")


def serve(
    models: Sequence[str],
    *,
    engine: str,
    precision: str = "auto",
    host: str,
    port: int,
    http_port: int,
    token: str | None,
    models_folder: Path = paths.MODELS,
    open_browser: bool = False,
    qr_code: bool = False,
) -> None:
    """Serve until interrupted; the page can be opened here, and shown as a QR code.

    Raises VisionstackError when it can't begin.
    """
    tls = Tls.OFF if is_loopback(host) else Tls.SELF_SIGNED
    try:
        settings = Settings(
            models=tuple(models),
            models_folder=models_folder,
            engine=engine,
            precision=precision,
            host=host,
            port=port,
            http_port=http_port,
            tls=tls,
            names=certificate_names(host),
            token=token or secrets.token_urlsafe(32),
            reload_seconds=5.0,
        )
        asyncio.run(_run(settings, open_browser=open_browser, qr_code=qr_code))
    except StreamingError as error:
        raise VisionstackError(str(error), remedy=_remedy(error)) from error


def _remedy(error: StreamingError) -> str | None:
    cause = error.__cause__
    if isinstance(cause, OSError) and cause.errno == errno.EADDRINUSE:
        return "End what has the port, or take free ones: --port 0 --http-port 0"
    return None


async def _run(settings: Settings, *, open_browser: bool, qr_code: bool) -> None:
    asked = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked.set)
    server = Server(settings)
    raise_limit(settings.limits.descriptors)
    make_room_when_exhausted(server.make_room)
    with console.err.status(f"loading {', '.join(settings.models)}"):
        await server.start()
    exempt_from_collection()
    _announce(server)
    if qr_code:
        show_qr_code(page_of(server, host=reachable_host(settings.host)))
        console.err.print(WARNING_STEPS, soft_wrap=True, markup=False)
    if open_browser:
        own = "127.0.0.1" if settings.host in _WILDCARDS else settings.host
        tell_opened(page_of(server, host=own))
    console.err.print("Ctrl-C ends the server.")
    try:
        waiting = [asyncio.create_task(event.wait()) for event in (asked, server.broken)]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for task in waiting:
            task.cancel()
        if server.broken.is_set():
            raise EngineBrokenError(
                "The engine failed on a picture that is known to be good: start the server anew."
            )
        console.err.print("draining; once more to stop at once")
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
        await server.drain("the server is stopping")
    finally:
        await server.stop()


def _announce(server: Server) -> None:
    settings = server.settings
    for host in server.hosts.values():
        offer = host.current.offer
        console.err.print(
            f"{escape(offer.name)} {offer.version} on {offer.engine} {offer.precision} "
            f"({escape(offer.device)})"
        )
        if not offer.weights_trained:
            console.err.print(f"[yellow]its weights are random: {escape(offer.weights)}[/]")
    reached = bracketed(reachable_host(settings.host))
    console.out.print(f"address: {reached}:{server.port}", soft_wrap=True)
    console.out.print(f"token: {settings.token}", soft_wrap=True, markup=False)
    if server.fingerprint is not None:
        console.out.print(f"fingerprint: {server.fingerprint}", soft_wrap=True)
    page = page_of(server, host=reachable_host(settings.host))
    console.out.print(f"page: {page}", soft_wrap=True, markup=False)
    pinned = f" --fingerprint {server.fingerprint}" if server.fingerprint else ""
    console.err.print(
        f"try: visionstack stream SOURCE --connect {reached}:{server.port} "
        f"--token {shlex.quote(str(settings.token))}{pinned}",
        soft_wrap=True,
        markup=False,
    )


def reachable_host(host: str) -> str:
    """The address that others reach a server by which listens on `host`.

    For every address of the machine that is the one it would send to the network from; no packet
    is sent to find it.
    """
    if host not in _WILDCARDS:
        return host
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # RFC 5737: never assigned
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])


def certificate_names(host: str) -> tuple[str, ...]:
    """What others may call a server that listens on `host`: its addresses, this machine's name."""
    if host not in _WILDCARDS:
        return (host,)
    name = socket.gethostname()
    try:
        found = {str(entry[4][0]) for entry in socket.getaddrinfo(name, None)}
    except OSError:
        found = set()
    # Scoped addresses (fe80::1%eth0) are no names of a certificate.
    own = {reachable_host(host), *(one for one in found if "%" not in one)}
    # .local is what multicast DNS (RFC 6762) calls it on the network. Not every machine's name is
    # one of DNS.
    names = (name, f"{name.partition('.')[0]}.local") if _DNS_NAME.fullmatch(name) else ()
    return (*names, *sorted(own))


def page_of(server: Server, *, host: str) -> str:
    """The address of the server's page, as reached by `host`."""
    scheme = "https" if server.fingerprint is not None else "http"
    return page_address(
        f"{scheme}://{bracketed(host)}:{server.http_port}", token=str(server.settings.token)
    )
