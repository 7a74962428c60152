"""The demo's streaming half, against a server whose detector says how grey a picture is."""

from __future__ import annotations

import asyncio

import pytest

from tests.unit.streaming.conftest import ServerFactory, running
from visionstack.demo import streaming

__all__ = ["running"]


async def test_every_frame_of_the_clip_is_counted_and_two_are_shown(
    running: ServerFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streaming, "PACED_FPS", 500.0)
    told: list[tuple[int, int]] = []
    async with running() as one:
        found = await asyncio.to_thread(
            streaming.stream_samples, one.address, tick=lambda *done: told.append(done)
        )
    section = found.section
    frames = section["frames"]
    assert told == [(number, frames) for number in range(1, frames + 1)]
    assert section["results"] + section["dropped"] + section["failed"] == frames
    assert len(section["samples_ms"]) == section["results"] == sum(section["labels"].values())
    assert found.seen[0].caption.startswith("dog.jpg")
    assert len(found.seen) == 3
    assert all(one.data.startswith(b"\xff\xd8") for one in found.seen)
