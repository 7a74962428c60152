"""`python -m runtime.streaming`: the server as it is deployed, set by environment variables."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys

from runtime.streaming import logs
from runtime.streaming.errors import StreamingError
from runtime.streaming.server import Server
from runtime.streaming.settings import Settings

log = logging.getLogger("runtime.streaming")


async def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, then drain and stop."""
    asked = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked.set)
    server = Server(settings)
    await server.start()
    try:
        await asked.wait()
        await server.drain("the server is stopping")
    finally:
        await server.stop()


def main() -> int:
    """Exit code: 0 after a drain, 1 when it could not start."""
    try:
        settings = Settings.from_env(os.environ)
        logs.configure(settings.log_level)
        asyncio.run(run(settings))
    except StreamingError as error:
        logging.basicConfig()
        log.error("cannot serve", extra={"reason": str(error)})  # noqa: TRY400
        print(f"visionstack stream server: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
