"""Streaming accuracy falls with a slow camera and with a slow network, and says how far."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.unit.streaming.conftest import FakeDetector, FakeFound, FakeSource, ServerFactory
from visionstack.accuracy import served
from visionstack.accuracy.inputs import Clip, Inputs
from visionstack.accuracy.labels import Label, LabelledPicture, LabelSet
from visionstack.accuracy.results import score_found
from visionstack.accuracy.served import Played, play
from visionstack.stream.types import StreamAddress

FRAMES, FPS = 20, 4.0
WALK = Clip(path=Path("walk"), frames=FRAMES, size=(320, 120), rate=FPS)


def where(number: int) -> tuple[float, float, float, float]:
    """A walker: two frames late still counts as found (an overlap of 0.6), three do not."""
    return (8.0 * number, 10.0, 8.0 * number + 64, 110.0)


class Follower(FakeDetector):
    """Finds the walker where the frame's blue, its number, says."""

    def finish(self, raw: Any, prepared: Any, *, confidence: float, iou: float) -> list[FakeFound]:
        return [FakeFound(0, 0.9, where(raw))]


def walk() -> Iterator[NDArray[np.uint8]]:
    random = np.random.default_rng(0)
    for number in range(FRAMES):
        frame = random.integers(0, 256, (120, 320, 3), np.uint8)
        frame[..., 0] = number
        yield frame


@pytest.fixture
def inputs() -> Inputs:
    labels = LabelSet(
        source=Path("walk.json"),
        classes=("grey 0",),
        pictures=tuple(
            LabelledPicture(
                name="walk", frame=n, size=None, labels=(Label(name="grey 0", box=where(n)),)
            )
            for n in range(FRAMES)
        ),
    )
    frames = tuple(range(FRAMES))
    return Inputs(name="walk", pictures=("",) * FRAMES, clip=WALK, frames=frames, labels=labels)


async def played(address: StreamAddress) -> Played:
    return await asyncio.to_thread(play, address, WALK, fps=FPS, encoding="png")


def accuracy(inputs: Inputs, one: Played) -> float:
    return score_found(inputs, one.seen(inputs, delay=0.0))[1]["AP50"].value


@asynccontextmanager
async def narrow(address: StreamAddress, *, bytes_per_second: float) -> AsyncIterator[Any]:
    """The server through a way of so much uplink."""
    tasks: set[asyncio.Task[None]] = set()

    async def pump(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter, rate: float | None
    ) -> None:
        while data := await reader.read(4096):
            if rate is not None:
                await asyncio.sleep(len(data) / rate)
            writer.write(data)
            await writer.drain()
        writer.close()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(address.host, address.port)
        both = (
            asyncio.create_task(pump(reader, back, bytes_per_second)),
            asyncio.create_task(pump(there, writer, None)),
        )
        tasks.update(both)
        await asyncio.gather(*both, return_exceptions=True)

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield replace(address, port=server.sockets[0].getsockname()[1])
    finally:
        server.close()
        for task in tasks:
            task.cancel()


async def test_a_slow_camera_and_a_slow_network_cost_accuracy(
    running: ServerFactory, inputs: Inputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = sum(frame.nbytes for frame in walk()) / FRAMES  # noise: no PNG is much smaller

    def slow() -> Iterator[NDArray[np.uint8]]:
        for frame in walk():
            time.sleep(2.5 / FPS)  # much slower than it says
            yield frame

    async with running(source=FakeSource(Follower())) as one:
        monkeypatch.setattr(served, "read_clip", lambda _: walk())
        quick = await played(one.address)
        async with narrow(one.address, bytes_per_second=0.4 * FPS * size) as address:
            thin = await played(address)
        monkeypatch.setattr(served, "read_clip", lambda _: slow())
        late = await played(one.address)
    # Frames that wait for others or are dropped; the camera's all arrive, of what is long past.
    assert thin.bytes_sent < quick.bytes_sent or thin.latencies[-1] > 2 * quick.latencies[-1]
    assert max(late.latencies) > 1000 * FRAMES / FPS / 2
    reached = {
        name: accuracy(inputs, one)
        for name, one in (("quick", quick), ("thin", thin), ("late", late))
    }
    # A machine that is busy with other work is late too: only what the ways add is held.
    assert reached["quick"] > 0.3, reached
    assert reached["thin"] < reached["quick"] - 0.2, reached
    assert reached["late"] < reached["quick"] - 0.2, reached
