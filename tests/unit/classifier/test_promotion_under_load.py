"""Promoted and rolled back under load: no call fails, and no answer mixes two versions."""

from __future__ import annotations

import io
import threading
from pathlib import Path

import pytest
from PIL import Image

from runtime.classifier.model import ModelHost, PublishedModelSource
from runtime.inference.artifact import Artifact, Preprocessing, Weights
from runtime.inference.store import ModelStore
from tests.unit.fake_s3 import FakeS3
from tests.unit.inference.conftest import _mean_colours
from visionstack.models.building import write_artifact
from visionstack.models.draft import Draft
from visionstack.models.publishing import publish
from visionstack.models.versions import Versions

ROUNDS = 10
CALLERS = 3


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


@pytest.fixture
def picture() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (16, 16), (200, 10, 10)).save(file, "PNG")
    return file.getvalue()


def test_ten_promotions_and_rollbacks_under_load(tmp_path: Path, picture: bytes) -> None:
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
    )
    host = ModelHost(source)
    host.current()
    versions = Versions(s3, "b", "colours")
    answers: list[tuple[str, str]] = []
    failed: list[BaseException] = []
    done = threading.Event()
    answered = threading.Semaphore(0)

    def call() -> None:
        while not done.is_set():
            try:
                model = host.current()
                classifier = model.classifier
                logits = classifier.infer([classifier.prepare(picture)])
                answers.append((model.version, classifier.rank(logits[0])[0].id))
                answered.release()
            except BaseException as error:
                failed.append(error)
                return

    callers = [threading.Thread(target=call) for _ in range(CALLERS)]
    for caller in callers:
        caller.start()
    try:
        for _ in range(ROUNDS):
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
    assert {version for version, _ in answers} == {old, new}
    assert [pair for pair in answers if not pair[1].startswith(ids[pair[0]])] == []
    assert len(versions.log()) == 1 + 2 * ROUNDS
