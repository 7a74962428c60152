"""Live cameras with a connection each, for a while, and what came of their frames."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, Final

from visionstack.stream.client import AsyncStreamClient
from visionstack.stream.pictures import EncodedPicture
from visionstack.stream.types import EndpointLike, StreamResult

_SETTLE_S: Final = 0.5


@dataclass(kw_only=True)
class Played:
    """By camera; seconds since the first was due."""

    answers: list[list[tuple[float, float]]]
    steps: list[dict[str, float]] = field(default_factory=list)
    """Of each result: the server's own seconds by step, and those around them."""
    taken: int = 0
    dropped_client: int = 0
    dropped_server: int = 0
    cameras_cpu_s: float = 0.0
    """Processor time of this process meanwhile: cameras and balancer."""


async def play(
    endpoint: EndpointLike,
    pictures: Sequence[EncodedPicture],
    *,
    cameras: int,
    fps: float,
    seconds: float,
) -> Played:
    """Phases are spread evenly over a period; nothing that comes after the end counts."""
    played = Played(answers=[[] for _ in range(cameras)])
    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(AsyncStreamClient(endpoint, policy="live"))
            for _ in range(cameras)
        ]
        began, cpu = time.monotonic() + _SETTLE_S, time.process_time()
        tasks = [
            asyncio.create_task(one)
            for number, client in enumerate(clients)
            for one in (
                _take(client, pictures, began=began, fps=fps, phase=number / cameras / fps),
                _read(client, played, number, began=began),
            )
        ]
        try:
            await asyncio.sleep(began + seconds - time.monotonic())
            failed = [task for task in tasks if task.done()]
            for task in failed:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        played.cameras_cpu_s = time.process_time() - cpu
        for client in clients:
            played.taken += client.counts.submitted
            played.dropped_client += client.counts.dropped_client
            played.dropped_server += client.counts.dropped_server
    return played


async def _take(
    client: AsyncStreamClient,
    pictures: Sequence[EncodedPicture],
    *,
    began: float,
    fps: float,
    phase: float,
) -> None:
    number = 0
    while True:
        due = began + phase + number / fps
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        await client.send(pictures[number % len(pictures)], context=due - began)
        number += 1


async def _read(client: AsyncStreamClient, played: Played, number: int, *, began: float) -> None:
    async for answer in client.answers():
        if isinstance(answer, StreamResult):
            due, came = answer.context, time.monotonic() - began
            played.answers[number].append((due, came))
            played.steps.append(_steps(answer, came - due))


def _steps(result: StreamResult, waited: float) -> dict[str, Any]:
    parts = result.latency
    steps = {"decode": parts.decode, "inference": parts.inference, "finish": parts.post}
    in_seconds = {name: milliseconds / 1000 for name, milliseconds in steps.items()}
    return {**in_seconds, "around": max(0.0, waited - sum(in_seconds.values()))}
