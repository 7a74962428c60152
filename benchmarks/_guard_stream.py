"""The streaming lane's part of the guard: a frame's time and a connection's bytes."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Final

from benchmarks._inputs import camera_pictures, model_folder
from benchmarks.streaming import MODEL, looped, one_in_flight
from runtime.inference.detector import Detector
from tests.unit.streaming.test_resuming import Cable
from visionstack.server_process import Served, served
from visionstack.stream.client import AsyncStreamClient
from visionstack.stream.types import StreamAddress

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
    target = StreamAddress(address.host, address.port, address.token)
    async with (
        Cable(target).laid() as cable,
        AsyncStreamClient(cable.address, policy="lossless", in_flight=1) as client,
    ):
        for picture in pictures:
            await client.detect(picture)
    return cable.carried
