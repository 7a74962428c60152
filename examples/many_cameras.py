"""Several sources at once, with asyncio: `many_cameras.py HOST:PORT TOKEN SOURCE...`.

The server's fingerprint, where it has one, is the environment's FINGERPRINT.
"""

import asyncio
import os
import sys

from visionstack.stream import AsyncStreamClient, StreamAddress, StreamResult
from visionstack.stream.sources import open_source


async def watch(address: StreamAddress, source: str) -> None:
    """One stream: a source's objects until it ends."""
    frames = (frame.picture for frame in open_source(source).frames)
    async with AsyncStreamClient(address, policy="live") as client:
        async for answer in client.stream(frames):
            if isinstance(answer, StreamResult):
                labels = ", ".join(found.label for found in answer.detections)
                print(f"{source} {answer.sequence}: {labels or 'nothing'}")


async def main(where: str, token: str, *sources: str) -> None:
    """All sources side by side, each over a connection of its own."""
    host, _, port = where.rpartition(":")
    address = StreamAddress(host, int(port), token, os.environ.get("FINGERPRINT"))
    async with asyncio.TaskGroup() as group:
        for source in sources:
            group.create_task(watch(address, source))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
