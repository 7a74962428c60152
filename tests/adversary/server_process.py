"""The server under attack, in a process of its own: prints its two ports, runs until stdin ends."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

from tests.unit.streaming.conftest import make_server


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        server = make_server(Path(folder))
        await server.start()
        print(server.port, server.http_port, flush=True)
        await asyncio.to_thread(sys.stdin.read)
        await server.stop()


asyncio.run(main())
