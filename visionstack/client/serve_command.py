"""`visionstack serve`: a streaming server on this machine, without any cloud."""

from __future__ import annotations

import asyncio
import secrets
import signal
from collections.abc import Sequence
from pathlib import Path

from rich.markup import escape

from runtime.streaming.errors import EngineBrokenError, StreamingError
from runtime.streaming.server import Server
from runtime.streaming.settings import Settings, Tls, is_loopback
from visionstack import console, paths
from visionstack.errors import VisionstackError


def serve(
    models: Sequence[str],
    *,
    engine: str,
    host: str,
    port: int,
    http_port: int,
    token: str | None,
    models_folder: Path = paths.MODELS,
) -> None:
    """Serve until interrupted. Raises VisionstackError when it can't begin."""
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
        asyncio.run(_run(settings))
    except StreamingError as error:
        raise VisionstackError(str(error)) from error


async def _run(settings: Settings) -> None:
    asked = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked.set)
    server = Server(settings)
    with console.err.status(f"loading {', '.join(settings.models)}"):
        await server.start()
    _announce(server)
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
    scheme = "http" if server.fingerprint is None else "https"
    console.out.print(f"address: {settings.host}:{server.port}", soft_wrap=True)
    console.out.print(f"token: {settings.token}", soft_wrap=True, markup=False)
    if server.fingerprint is not None:
        console.out.print(f"fingerprint: {server.fingerprint}", soft_wrap=True)
    console.out.print(f"page: {scheme}://{settings.host}:{server.http_port}/", soft_wrap=True)
    pinned = f" --fingerprint {server.fingerprint}" if server.fingerprint else ""
    console.err.print(
        f"try: visionstack stream SOURCE --connect {settings.host}:{server.port} "
        f"--token {settings.token}{pinned}",
        soft_wrap=True,
        markup=False,
    )
