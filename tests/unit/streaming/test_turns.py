"""A detector tried, promoted and rolled back under streams, with real artifacts and a real engine.

The whole of it, deployed and ten times, is `python -m benchmarks model_turns`.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from benchmarks import _turning_models as turning
from benchmarks.model_turns import is_mixed
from runtime.inference.store import Canary, ModelStore
from runtime.streaming.models import ArtifactSource
from tests.unit.fake_s3 import FakeS3
from tests.unit.streaming.conftest import ServerFactory
from visionstack.models.publishing import publish
from visionstack.models.versions import Versions
from visionstack.stream.client import AsyncStreamClient
from visionstack.stream.types import StreamResult

STREAMS = 6
TURNS = 2


class Source(ArtifactSource):
    """Artifacts from a bucket in memory."""

    def __init__(self, s3: FakeS3, folder: Path) -> None:
        super().__init__(folder=folder, engine="onnxruntime", bucket="b")
        self.detectors = {turning.DETECTOR: None}
        self._of = ModelStore(s3, "b")

    @property
    def _store(self) -> ModelStore:
        return self._of


async def test_two_turns_under_streams_lose_and_mix_nothing_and_a_rollback_fetches_nothing(
    running: ServerFactory, tmp_path: Path
) -> None:
    s3 = FakeS3()
    made = [turning.detector(number, root=tmp_path / "made") for number in turning.VERSIONS]
    for artifact in made:
        publish(artifact, client=s3, bucket="b", promote=artifact is made[0])
    names = [artifact.manifest.version for artifact in made]
    versions = Versions(s3, "b", turning.DETECTOR)
    source: Any = Source(s3, tmp_path / "pulled")
    now: list[str] = [""] * STREAMS
    ids: list[str] = [""] * STREAMS
    sent, mixed, lost = [0] * STREAMS, 0, 0
    done = asyncio.Event()

    async def frames(number: int) -> Any:
        while not done.is_set():
            sent[number] += 1
            yield turning.picture()
            await asyncio.sleep(0.01)

    async def stream(number: int, address: Any) -> int:
        nonlocal mixed, lost
        answered = 0
        async with AsyncStreamClient(address, policy="lossless") as client:
            ids[number] = client.server.session
            async for answer in client.stream(frames(number)):
                answered += 1
                if not isinstance(answer, StreamResult):
                    lost += 1
                    continue
                mixed += is_mixed(answer, names)
                now[number] = answer.version
        return answered

    async def followed(version: str, canary: Canary | None = None) -> None:
        async with asyncio.timeout(120):
            while now != [
                canary.version if canary and canary.takes(one[:8]) else version for one in ids
            ]:
                await asyncio.sleep(0.01)

    async with running(source=source, reload_seconds=0.05) as one:
        streams = [asyncio.create_task(stream(number, one.address)) for number in range(STREAMS)]
        try:
            await followed(names[0])
            for _ in range(TURNS):
                for share in (0.2, 0.7):
                    versions.try_on(names[1], share)
                    await followed(names[0], Canary(names[1], share))
                versions.rollback()
                await followed(names[0])
                versions.try_on(names[1], 0.5)
                await followed(names[0], Canary(names[1], 0.5))
                versions.promote(names[1])
                await followed(names[1])
                before = len(s3.reads)
                versions.rollback()
                await followed(names[0])
                read = [key for key, _ in s3.reads[before:]]
                assert not [key for key in read if names[0] in key and "training" not in key]
        finally:
            done.set()
            answered = await asyncio.gather(*streams)
    assert (answered, lost, mixed) == (sent, 0, 0)
