"""The server under attack, in a process of its own: prints its two ports, runs until stdin ends.

`python -m tests.adversary.server_process [DESCRIPTORS]`: how many files it may have open.
"""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import sys
import tempfile
from pathlib import Path

from runtime.streaming.__main__ import run
from runtime.streaming.host import logs
from tests.unit.streaming.conftest import make_server


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        server = make_server(Path(folder))
        serving = asyncio.create_task(run(server.settings, server=server))
        await server.listening.wait()
        while server.registry.loading:
            await asyncio.sleep(0.01)
        print(server.port, server.http_port, flush=True)
        await asyncio.to_thread(sys.stdin.read)
        os.kill(os.getpid(), signal.SIGTERM)
        await serving


if len(sys.argv) > 1:
    allowed = int(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, allowed))
logs.configure("INFO")
asyncio.run(main())
