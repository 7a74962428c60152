"""Tried, promoted and rolled back under load: no call fails, no answer mixes two versions."""

from __future__ import annotations

import hashlib
import io
import itertools
import threading
from pathlib import Path

import pytest
from PIL import Image

from runtime.classifier.model import ModelHost, PublishedModelSource
from runtime.inference.artifact import Artifact, Preprocessing, Weights
from runtime.inference.store import Canary, ModelStore
from tests.unit.fake_s3 import FakeS3
from tests.unit.inference.conftest import _mean_colours
from visionstack.models.building import write_artifact
from visionstack.models.draft import Draft
from visionstack.models.publishing import publish
from visionstack.models.versions import Versions

ROUNDS = 10
CALLERS = 3
PICTURES = 100
SHARES = (0.1, 0.6)


def hashed(picture: bytes) -> str:
    return hashlib.sha256(picture).hexdigest()


def colours(folder: Path, ids: str, padding: int) -> Artifact:
    draft = Draft(
        model=_mean_colours(padding),
        task="classify",
        family="classifier",
        size=8,
        preprocessing=Preprocessing(kind="crop", resize=8),
        labels=[f"{ids}-{number}\tthing" for number in range(3)],
        weights=Weights(trained=True, description="none to speak of"),
        source="tests",
        licence="AGPL-3.0",
    )
    return write_artifact("colours", draft, root=folder, say=lambda _: None)


@pytest.fixture(scope="module")
def pictures() -> list[bytes]:
    files = []
    for level in range(PICTURES):
        file = io.BytesIO()
        Image.new("RGB", (16, 16), (level, 10, 10)).save(file, "PNG")
        files.append(file.getvalue())
    return files


def test_ten_promotions_and_rollbacks_under_load(tmp_path: Path, pictures: list[bytes]) -> None:
    s3 = FakeS3()
    made = [colours(tmp_path / ids, ids, padding) for padding, ids in enumerate(("old", "new"))]
    for artifact in made:
        publish(artifact, client=s3, bucket="b", promote=artifact is made[0])
    old, new = (artifact.manifest.version for artifact in made)
    ids = {old: "old", new: "new"}
    source = PublishedModelSource(
        ModelStore(s3, "b"),
        packaged=tmp_path / "package",
        name="colours",
        scratch=tmp_path,
        engine="onnxruntime",
        threads=1,
        memory_mb=3008,
    )
    host = ModelHost(source)
    host.current()
    versions = Versions(s3, "b", "colours")
    answers: list[tuple[bytes, str, str]] = []
    failed: list[BaseException] = []
    done = threading.Event()
    answered = threading.Semaphore(0)

    def call() -> None:
        for picture in itertools.cycle(pictures):
            if done.is_set():
                return
            try:
                model = host.serving().model_for(picture)
                classifier = model.classifier
                logits = classifier.infer([classifier.prepare(picture)])
                answers.append((picture, model.version, classifier.rank(logits[0])[0].id))
                answered.release()
            except BaseException as error:
                failed.append(error)
                return

    callers = [threading.Thread(target=call) for _ in range(CALLERS)]
    for caller in callers:
        caller.start()
    try:
        for number in range(ROUNDS):
            canary = Canary(new, SHARES[number % 2])
            versions.try_on(*canary)
            host.refresh(at_once=True)
            begun = len(answers)
            assert all(answered.acquire(timeout=60) for _ in range(CALLERS * PICTURES)), failed
            # Those that were under way are behind by then.
            for picture, version, _ in answers[begun + CALLERS :]:
                assert version == (new if canary.takes(hashed(picture)) else old)
            for change, expected in (
                (lambda: versions.promote(new), new),
                (versions.rollback, old),
            ):
                change()
                host.refresh(at_once=True)
                assert host.current().version == expected
                assert all(answered.acquire(timeout=60) for _ in range(2 * CALLERS)), failed
    finally:
        done.set()
        for caller in callers:
            caller.join()

    assert failed == []
    assert {version for _, version, _ in answers} == {old, new}
    assert [one for one in answers if not one[2].startswith(ids[one[1]])] == []
    assert len(versions.log()) == 1 + 3 * ROUNDS
