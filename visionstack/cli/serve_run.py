"""`visionstack serve`: a streaming server on this machine, without any cloud."""

from __future__ import annotations

import asyncio
import secrets
import signal
import socket
import sys
import webbrowser
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from rich.markup import escape

from runtime.protocol.errors import StreamingError
from runtime.protocol.loopback import is_loopback
from runtime.streaming.errors import EngineBrokenError
from runtime.streaming.server import Server
from runtime.streaming.settings import Settings, Tls
from visionstack import console, paths
from visionstack.errors import VisionstackError

ANY_ADDRESS: Final = "0.0.0.0"  # noqa: S104 (asked for by name: --phone, --host)
_WILDCARDS: Final = (ANY_ADDRESS, "::", "")


def serve(
    models: Sequence[str],
    *,
    engine: str,
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
            host=host,
            port=port,
            http_port=http_port,
            tls=tls,
            token=token or secrets.token_urlsafe(32),
            reload_seconds=5.0,
        )
        asyncio.run(_run(settings, open_browser=open_browser, qr_code=qr_code))
    except StreamingError as error:
        raise VisionstackError(str(error)) from error


async def _run(settings: Settings, *, open_browser: bool, qr_code: bool) -> None:
    asked = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked.set)
    server = Server(settings)
    with console.err.status(f"loading {', '.join(settings.models)}"):
        await server.start()
    _announce(server)
    if qr_code:
        _show_qr_code(page_address(server, host=reachable_host(settings.host)))
    if open_browser:
        own = "127.0.0.1" if settings.host in _WILDCARDS else settings.host
        webbrowser.open(page_address(server, host=own))
        console.err.print("The page opens in your browser. Ctrl-C ends the server.")
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
    reached = _bracketed(reachable_host(settings.host))
    console.out.print(f"address: {reached}:{server.port}", soft_wrap=True)
    console.out.print(f"token: {settings.token}", soft_wrap=True, markup=False)
    if server.fingerprint is not None:
        console.out.print(f"fingerprint: {server.fingerprint}", soft_wrap=True)
    page = page_address(server, host=reachable_host(settings.host))
    console.out.print(f"page: {page}", soft_wrap=True, markup=False)
    pinned = f" --fingerprint {server.fingerprint}" if server.fingerprint else ""
    console.err.print(
        f"try: visionstack stream SOURCE --connect {reached}:{server.port} "
        f"--token {settings.token}{pinned}",
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


def page_address(server: Server, *, host: str) -> str:
    """The page's address, with the token where no server and no log sees it: after the `#`."""
    scheme = "http" if server.fingerprint is None else "https"
    return f"{scheme}://{_bracketed(host)}:{server.http_port}/#token={server.settings.token}"


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _show_qr_code(address: str) -> None:
    import segno

    console.err.print("On a phone in the same network, scan this:")
    segno.make(address, error="l", micro=False).terminal(out=sys.stderr, compact=True)
    console.err.print(
        "The phone warns of a certificate it does not know, since the server made it itself: "
        "choose to go on (Android: Advanced, Proceed; iPhone: Show Details, visit this website).",
        soft_wrap=True,
    )
