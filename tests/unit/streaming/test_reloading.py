"""A model's new version takes over between two frames, or is refused and the old one goes on."""

from __future__ import annotations

import asyncio
import errno
import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from runtime.inference.detector import Detector
from runtime.inference.store import Current, ModelStore
from runtime.streaming import models
from runtime.streaming.errors import ModelUnavailableError
from runtime.streaming.models import ArtifactSource
from tests.unit.streaming.conftest import FakeDetector, FakeSource, ServerFactory, picture
from visionstack.stream.client import AsyncStreamClient
from visionstack.stream.types import StreamResult


async def until(condition: Any) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(("on_gpu", "batch"), [(True, 8), (False, 1)])
def test_batches_follow_the_device_and_not_the_engine_s_name(on_gpu: bool, batch: int) -> None:
    manifest = SimpleNamespace(
        name="toy", weights=SimpleNamespace(trained=False, description="none")
    )
    engine = SimpleNamespace(name="torch", precision="fp32", device="here", on_gpu=on_gpu)
    detector = SimpleNamespace(manifest=manifest, engine=engine, labels=("a",))
    assert models._model(detector, version="1", max_batch=None).max_batch == batch
    assert models._model(detector, version="1", max_batch=3).max_batch == 3


async def test_a_new_version_takes_over_in_mid_stream_without_a_gap(
    running: ServerFactory,
) -> None:
    source = FakeSource(FakeDetector(seconds=0.002))
    async with (
        running(source=source, reload_seconds=0.05) as one,
        AsyncStreamClient(one.address, policy="lossless") as client,
    ):
        revisions = []
        async for answer in client.stream(picture(n % 250) for n in range(300)):
            revisions.append(answer.revision)
            if answer.sequence == 50:
                source.versions["fake"] = "2"
                source.detectors["fake"] = FakeDetector(seconds=0.002)
        async with AsyncStreamClient(one.address) as later:
            assert later.server.version == "2"
    assert len(revisions) == 300
    assert revisions == sorted(revisions)
    assert set(revisions) == {0, 1}


async def test_every_answer_names_its_version_and_its_labels_are_that_versions(
    running: ServerFactory,
) -> None:
    def detector(version: str) -> FakeDetector:
        labels = tuple(f"{level} of {version}" for level in range(256))
        return FakeDetector(seconds=0.002, labels=labels)

    source = FakeSource(detector("1"))
    async with (
        running(source=source, reload_seconds=0.05) as one,
        AsyncStreamClient(one.address, policy="lossless") as client,
    ):
        versions = []
        async for answer in client.stream(picture(n % 250) for n in range(300)):
            assert isinstance(answer, StreamResult)
            level = answer.sequence % 250
            assert [d.label for d in answer.detections] == [f"{level} of {answer.version}"]
            versions.append(answer.version)
            if answer.sequence in (50, 150):
                newer = str(int(source.versions["fake"]) + 1)
                source.detectors["fake"] = detector(newer)
                source.versions["fake"] = newer
        assert client.server.version == versions[-1]
    assert len(versions) == 300
    assert versions == sorted(versions)
    assert len(set(versions)) > 1


@pytest.mark.parametrize(
    "sparing", [{"gate": 0.001}, {"track": True, "key_interval": 60}], ids=["gate", "key frames"]
)
async def test_a_still_picture_is_looked_at_anew_by_a_new_version(
    running: ServerFactory, sparing: dict[str, Any]
) -> None:
    old, new = FakeDetector(), FakeDetector()
    source = FakeSource(old)
    async with (
        running(source=source, reload_seconds=0.02) as one,
        AsyncStreamClient(one.address, policy="lossless", **sparing) as client,
    ):
        for _ in range(3):
            await client.detect(picture(7))
        assert len(old.batches) == 1
        source.detectors["fake"] = new
        source.versions["fake"] = "2"
        loaded = one.server.metrics.reloads.labels("fake", "loaded")
        await until(lambda: loaded._value.get() == 1)
        for _ in range(3):
            assert (await client.detect(picture(7))).revision == 1
        assert len(new.batches) == 1


async def test_a_damaged_version_is_refused_once_and_the_old_one_goes_on(
    running: ServerFactory,
) -> None:
    source = FakeSource()
    async with running(source=source, reload_seconds=0.02) as one:
        source.broken["2"] = "weights.onnx is damaged"
        source.versions["fake"] = "2"
        refused = one.server.metrics.reloads.labels("fake", "refused")
        await until(lambda: refused._value.get() == 1)
        await asyncio.sleep(0.2)
        assert source.loads.count(("fake", "2")) == 1
        async with AsyncStreamClient(one.address) as client:
            assert client.server.version == "1"
            assert (await client.detect(picture(1))).detections
        source.versions["fake"] = "3"
        loaded = one.server.metrics.reloads.labels("fake", "loaded")
        await until(lambda: loaded._value.get() == 1)
        async with AsyncStreamClient(one.address) as client:
            assert client.server.version == "3"


async def test_a_version_that_could_not_be_had_for_a_moment_is_tried_again_soon(
    running: ServerFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "RETRY_SECONDS", 0.02)
    source = FakeSource()
    async with running(source=source, reload_seconds=0.01) as one:
        source.broken["2"] = "S3 is away"
        source.versions["fake"] = "2"
        await until(lambda: source.loads.count(("fake", "2")) > 2)
        del source.broken["2"]
        loaded = one.server.metrics.reloads.labels("fake", "loaded")
        await until(lambda: loaded._value.get() == 1)


async def test_a_refused_version_that_is_promoted_again_is_tried_at_once(
    running: ServerFactory,
) -> None:
    source = FakeSource()
    async with running(source=source, reload_seconds=0.01) as one:
        source.broken["2"] = "S3 is away"
        source.versions["fake"] = "2"
        refused = one.server.metrics.reloads.labels("fake", "refused")
        await until(lambda: refused._value.get() == 1)
        asked = source.asked
        source.versions["fake"] = "1"
        await until(lambda: source.asked > asked + 2)
        del source.broken["2"]
        source.versions["fake"] = "2"
        loaded = one.server.metrics.reloads.labels("fake", "loaded")
        await until(lambda: loaded._value.get() == 1)


async def test_a_store_that_fails_is_no_reason_to_stop(running: ServerFactory) -> None:
    class Flaky(FakeSource):
        def wanted(self, name: str) -> Current:
            wanted = super().wanted(name)
            if self.asked > 1:
                raise ModelUnavailableError("S3 is away")
            return wanted

    source = Flaky()
    async with running(source=source, reload_seconds=0.02) as one:
        await until(lambda: source.asked > 3)
        async with AsyncStreamClient(one.address) as client:
            assert (await client.detect(picture(1))).detections


class Bucket:
    """An S3 client whose object `current` names a version of one file."""

    def __init__(self, objects: dict[str, bytes]) -> None:
        self.objects = objects

    def get_object(self, **kwargs: Any) -> Any:
        data = self.objects[kwargs["Key"]]

        class Body:
            def read(self) -> bytes:
                return data

        return {"Body": Body()}


def source_over(bucket: Bucket, folder: Path) -> ArtifactSource:
    class Over(ArtifactSource):
        @property
        def _store(self) -> ModelStore:
            return ModelStore(bucket, "artifacts")

    return Over(folder=folder, engine="onnxruntime", bucket="artifacts")


def test_a_missing_model_is_an_error_that_says_how_to_build_it(tmp_path: Path) -> None:
    source = ArtifactSource(folder=tmp_path, engine="auto")
    with pytest.raises(ModelUnavailableError, match="visionstack models build nothing"):
        source.wanted("nothing")


def test_a_published_model_with_a_wrong_hash_is_refused(tmp_path: Path) -> None:
    bucket = Bucket(
        {
            "models/m/current": b"0123456789abcdef",
            "models/m/0123456789abcdef/model.json": json.dumps({"version": "x"}).encode(),
        }
    )
    source = source_over(bucket, tmp_path)
    with pytest.raises(ModelUnavailableError):
        source.load("m", source.wanted("m").version)
    assert not (tmp_path / "m" / "0123456789abcdef").exists()


def test_an_intact_model_that_fails_at_its_first_picture_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Odd(FakeDetector):
        manifest = SimpleNamespace(
            name="m", weights=SimpleNamespace(trained=True, description="odd")
        )
        engine = SimpleNamespace(name="torch", precision="fp32", device="test", on_gpu=False)
        labels = ("one",)

        def finish(self, raw: Any, prepared: Any, **thresholds: float) -> list[Any]:
            raise IndexError("axis 2 is out of bounds")

    monkeypatch.setattr(Detector, "load", lambda *args, **kwargs: Odd())
    source = ArtifactSource(folder=tmp_path, engine="auto")
    with pytest.raises(ModelUnavailableError, match=r"first picture.*axis 2 is out of bounds"):
        source.load("m", "1")


def test_a_full_disk_while_pulling_is_an_error_that_names_the_folder(tmp_path: Path) -> None:
    class Full(ModelStore):
        def pull(self, *args: Any, **kwargs: Any) -> Any:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    class Over(ArtifactSource):
        @property
        def _store(self) -> ModelStore:
            return Full(Bucket({}), "artifacts")

    source = Over(folder=tmp_path, engine="onnxruntime", bucket="artifacts")
    with pytest.raises(ModelUnavailableError, match="No space left on device"):
        source.load("m", "1")
