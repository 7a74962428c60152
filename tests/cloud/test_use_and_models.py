"""What the deployed function keeps for training, and a version that it tries on some pictures."""

from __future__ import annotations

import csv
import hashlib
import io
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from runtime.contract import PICTURES_PREFIX, TRAINING_PREFIX, Output, Stack
from runtime.inference.artifact import MANIFEST, Artifact, Measured, file_entry
from runtime.inference.classification import Classifier
from runtime.inference.engines import create_engine
from runtime.inference.engines.processor import instructions
from runtime.inference.store import Canary
from visionstack import paths
from visionstack.classify.client import ClassifierClient
from visionstack.models.building import current_folder
from visionstack.models.publishing import publish
from visionstack.models.quantizing import quantize, with_int8

if TYPE_CHECKING:
    from tests.cloud.conftest import EmbeddedCloud

pytestmark = pytest.mark.cloud
MODEL = "efficientnet-lite0"
PATIENCE_S = 120


@pytest.fixture(scope="module")
def client(embedded_cloud: EmbeddedCloud) -> Iterator[ClassifierClient]:
    with ClassifierClient.of(embedded_cloud.deployment) as made:
        yield made


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Of one dog, of different sizes: no other test sends their bytes."""
    folder = tmp_path_factory.mktemp("pictures")
    dog = Image.open(paths.SAMPLES / "dog.jpg")
    files = [folder / f"{side}.jpg" for side in range(200, 212)]
    for file in files:
        dog.resize((int(file.stem), 180)).save(file)
    return files


def hashed(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def test_a_classified_picture_is_pulled_with_its_prediction_and_deleted_by_its_hash(
    embedded_cloud: EmbeddedCloud, client: ClassifierClient, pictures: list[Path], tmp_path: Path
) -> None:
    answers = {hashed(file): client.classify(file) for file in pictures[:2]}
    pulled = embedded_cloud.json("data", "pull", str(tmp_path / "use"))
    assert [one["margin"] for one in pulled] == sorted(one["margin"] for one in pulled)
    told = list(csv.DictReader(io.StringIO((tmp_path / "use" / "predictions.csv").read_text())))
    for digest, answer in answers.items():
        (row,) = [one for one in told if one["sha256"] == digest]
        assert (row["id"], row["version"]) == (answer.top[0].id, answer.model["version"])
        assert float(row["softmax"]) == pytest.approx(answer.top[0].softmax, abs=1e-3)
        assert hashed(tmp_path / "use" / row["file"]) == digest
    # Corrected by hand, they are not fetched again.
    (tmp_path / "use" / row["file"]).rename(tmp_path / "use" / f"{row['sha256']}.jpg")
    once_more = embedded_cloud.json("data", "pull", str(tmp_path / "use"))
    assert not {one["sha256"] for one in once_more} & {*answers}

    gone, kept = answers
    deleted = embedded_cloud.json("data", "delete", gone)["deleted"]
    assert {key.partition("/")[0] + "/" for key in deleted} == {PICTURES_PREFIX, TRAINING_PREFIX}
    bucket = embedded_cloud.deployment.output(Stack.STORAGE, Output.PICTURES_BUCKET)
    s3 = embedded_cloud.deployment.client("s3")
    for key in deleted:
        assert not s3.list_objects_v2(Bucket=bucket, Prefix=key).get("Contents")
    again = {one["sha256"] for one in embedded_cloud.json("data", "pull", str(tmp_path / "anew"))}
    assert kept in again
    assert gone not in again


@pytest.fixture
def other_version(embedded_cloud: EmbeddedCloud, tmp_path: Path) -> Artifact:
    """The same network with one more file, published and not current."""
    built = current_folder(paths.MODELS, MODEL)
    folder = Path(shutil.copytree(built, tmp_path / "other"))
    (folder / "note.txt").write_text("another version\n")
    manifest = Artifact.load(built).manifest
    files = {**manifest.files, "note.txt": file_entry(folder / "note.txt")}
    manifest = manifest._replace(files=files)
    (folder / MANIFEST).write_text(manifest.to_json())
    artifact = Artifact(folder, manifest)
    deployment = embedded_cloud.deployment
    bucket = deployment.output(Stack.STORAGE, Output.ARTIFACTS_BUCKET)
    assert publish(artifact, client=deployment.client("s3"), bucket=bucket, promote=False)
    return artifact


def test_a_canary_answers_its_share_of_the_pictures_and_none_once_it_is_ended(
    embedded_cloud: EmbeddedCloud,
    client: ClassifierClient,
    pictures: list[Path],
    other_version: Artifact,
) -> None:
    current = Artifact.load(current_folder(paths.MODELS, MODEL)).manifest.version
    other = other_version.manifest.version
    canary = Canary(other, 0.5)
    expected = [other if canary.takes(hashed(file)) else current for file in pictures]
    assert set(expected) == {current, other}

    def answered() -> list[str]:
        return [client.classify(file).model["version"] for file in pictures]

    def followed(wanted: list[str]) -> None:
        """Environments follow with a wake-up, each by itself."""
        ends = time.monotonic() + PATIENCE_S
        while (found := answered()) != wanted:
            assert time.monotonic() < ends, found
            assert set(found) <= {current, other}
            embedded_cloud.json("wakeup", "--target", "2")

    told: Any = embedded_cloud.json("models", "promote", MODEL, other, "--canary", "50%")
    assert told["canary"] == canary._asdict()
    followed(expected)
    assert answered() == expected
    listed = embedded_cloud.json("models", "versions", MODEL)
    shares = {one["version"]: one["share"] for one in listed}
    assert (shares[current], shares[other]) == (0.5, 0.5)
    embedded_cloud.json("models", "rollback", MODEL)
    followed([current] * len(pictures))
    log = embedded_cloud.json("models", "log", MODEL)
    assert [one["action"] for one in log[-2:]] == ["canary", "canary"]


def quantized(embedded_cloud: EmbeddedCloud, home: Path, *, sound: bool) -> Artifact:
    """The served model with int8, published and current; its figures say sound, or what is so."""
    built = Artifact.load(current_folder(paths.MODELS, MODEL))
    plain = Artifact(home / built.manifest.version, built.manifest)
    shutil.copytree(built.folder, plain.folder)
    classifier = Classifier.load(plain, engine="onnxruntime")
    pixels = [classifier.prepare(file.read_bytes())[None] for file in paths.SAMPLES.glob("*.jpg")]
    graph = home / "graph.onnx"
    quantize(plain, pixels * 3, graph)
    exact = Measured(
        precision="fp32",
        sha256=plain.manifest.files[plain.manifest.model].sha256,
        engine="onnxruntime",
        instructions=instructions(),
        metric="top 1",
        accuracy=0.75,
        milliseconds=20.0,
        labels="made up for this test",
        agreement=1.0,
    )
    narrow = exact._replace(
        precision="int8",
        sha256=file_entry(graph).sha256,
        accuracy=0.74 if sound else 0.1,
        milliseconds=5.0,
    )
    artifact = with_int8(plain, graph, (exact, narrow))
    deployment = embedded_cloud.deployment
    bucket = deployment.output(Stack.STORAGE, Output.ARTIFACTS_BUCKET)
    assert publish(artifact, client=deployment.client("s3"), bucket=bucket)
    return artifact


@pytest.mark.parametrize(("sound", "precision"), [(True, "int8"), (False, "fp32")])
def test_the_deployed_function_computes_int8_where_it_is_sound_and_only_there(  # noqa: PLR0917
    embedded_cloud: EmbeddedCloud,
    client: ClassifierClient,
    pictures: list[Path],
    tmp_path: Path,
    sound: bool,
    precision: str,
) -> None:
    before = embedded_cloud.json("models", "versions", MODEL)
    (current,) = [one["version"] for one in before if one["current"]]
    served = quantized(embedded_cloud, tmp_path, sound=sound)
    try:
        ends = time.monotonic() + PATIENCE_S
        while (answer := client.classify(pictures[0])).model["version"] != served.manifest.version:
            assert time.monotonic() < ends
            embedded_cloud.json("wakeup", "--target", "2")
        assert answer.response["engine"] == {"name": "onnxruntime", "precision": precision}
        here = Classifier(served, create_engine("onnxruntime", served, precision=precision))
        assert answer.top[0].id == here.classify(pictures[0].read_bytes())[0].id
    finally:
        embedded_cloud.json("models", "promote", MODEL, current, "--anyway")
