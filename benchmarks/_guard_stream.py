"""The streaming lane's part of the guard: a frame's time and a connection's bytes."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Final

from benchmarks._inputs import camera_pictures, model_folder
from benchmarks.streaming import MODEL, looped, one_in_flight
from runtime.inference.detector import Detector
from visionstack.server_process import Served, served
from visionstack.stream.client import AsyncStreamClient

ROUNDS, SECONDS = 12, 30.0
FEWEST_ROUNDS: Final = 3
FRAMES: Final = 20
WIRE_ROUNDS: Final = 3


def medians() -> tuple[list[float], list[float]]:
    """Median milliseconds a frame by round: streamed with one in flight, and in a plain loop."""
    folder = model_folder(MODEL)
    detector = Detector.load(folder)
    pictures = _pictures()
    streamed: list[float] = []
    loop: list[float] = []
    with served(folder) as address:
        until = time.monotonic() + SECONDS
        for number in range(ROUNDS + 1):
            if number > FEWEST_ROUNDS and time.monotonic() > until:
                break
            one_loop = looped(detector, pictures, FRAMES)
            one_stream = asyncio.run(one_in_flight(address, pictures, FRAMES))
            # The first round warms both up.
            if number:
                loop.append(median(one_loop["latency_ms"]))
                streamed.append(median(one_stream["latency_ms"]))
    return streamed, loop


def bytes_on_the_wire() -> tuple[list[int], list[int]]:
    """Bytes in both directions of a connection's whole life, by round; bytes of its pictures."""
    pictures = [_pictures()[number % 3] for number in range(FRAMES)]
    with served(model_folder(MODEL)) as address:
        moved = [asyncio.run(_moved(address, pictures)) for _ in range(WIRE_ROUNDS)]
    return moved, [len(picture) for picture in pictures]


def _pictures() -> list[bytes]:
    with tempfile.TemporaryDirectory() as folder:
        return [path.read_bytes() for path in camera_pictures(Path(folder))]


async def _moved(address: Served, pictures: Sequence[bytes]) -> int:
    counted: list[int] = []
    async with (
        _counting(address, counted) as through,
        AsyncStreamClient(through, policy="lossless", in_flight=1) as client,
    ):
        for picture in pictures:
            await client.detect(picture)
    return sum(counted)


@contextlib.asynccontextmanager
async def _counting(address: Served, counted: list[int]) -> AsyncIterator[Served]:
    """A way to the server that notes the size of all that passes."""

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(ConnectionError):
            while data := await reader.read(1 << 16):
                counted.append(len(data))
                writer.write(data)
                await writer.drain()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_connection(address.host, address.port)
        await asyncio.gather(copy(reader, server_writer), copy(server_reader, writer))

    relay = await asyncio.start_server(accept, "127.0.0.1", 0)
    async with relay:
        yield replace(address, host="127.0.0.1", port=relay.sockets[0].getsockname()[1])
