"""Models come from S3 whole or not at all."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from runtime.inference.artifact import Artifact
from runtime.inference.errors import ArtifactDamagedError, ArtifactMissingError, StoreError
from runtime.inference.store import ModelStore
from tests.unit.fake_s3 import FakeS3
from visionstack.models.errors import ModelError
from visionstack.models.publishing import publish

MakeArtifact = Callable[..., Artifact]


@pytest.fixture
def s3() -> FakeS3:
    return FakeS3()


def test_a_published_model_arrives_whole(
    s3: FakeS3, make_artifact: MakeArtifact, tmp_path: Path
) -> None:
    artifact = make_artifact()
    assert publish(artifact, client=s3, bucket="b")
    pulled = ModelStore(s3, "b").pull("colours", tmp_path / "pulled")
    assert pulled.folder == tmp_path / "pulled" / "colours" / artifact.manifest.version
    assert pulled.manifest == artifact.manifest
    assert Artifact.load(pulled.folder).manifest == artifact.manifest


def test_a_cache_keeps_one_version_and_leaves_other_models_alone(
    s3: FakeS3, make_artifact: MakeArtifact, tmp_path: Path
) -> None:
    old, new = make_artifact(padding=1), make_artifact(padding=2)
    store = ModelStore(s3, "b")
    for artifact in (old, new):
        publish(artifact, client=s3, bucket="b")
        store.pull("colours", tmp_path)
    (tmp_path / "colours" / ".cut-off.x").mkdir()
    (tmp_path / "shapes" / "1").mkdir(parents=True)
    store.keep_only([new.manifest.version], of="colours", into=tmp_path)
    assert [folder.name for folder in (tmp_path / "colours").iterdir()] == [new.manifest.version]
    assert (tmp_path / "shapes" / "1").is_dir()
    assert Artifact.load(tmp_path / "colours" / new.manifest.version).manifest == new.manifest


def test_publishing_again_moves_the_pointer_and_uploads_nothing(
    s3: FakeS3, make_artifact: MakeArtifact
) -> None:
    old, new = make_artifact(padding=1), make_artifact(padding=2)
    store = ModelStore(s3, "b")
    assert publish(old, client=s3, bucket="b")
    assert publish(new, client=s3, bucket="b")
    assert store.current_version("colours") == new.manifest.version
    before = dict(s3.objects)
    assert not publish(old, client=s3, bucket="b")
    assert store.current_version("colours") == old.manifest.version
    changed = {key for key in s3.objects if s3.objects[key] != before.get(key)}
    assert changed == {"models/colours/current", "models/colours/log/000003.json"}


def test_a_failed_upload_leaves_the_pointer_on_the_old_version(
    s3: FakeS3, make_artifact: MakeArtifact
) -> None:
    old, new = make_artifact(padding=1), make_artifact(padding=2)
    publish(old, client=s3, bucket="b")
    s3.failing = "model.onnx"
    with pytest.raises(ModelError, match="could not be published"):
        publish(new, client=s3, bucket="b")
    s3.failing = None
    assert ModelStore(s3, "b").current_version("colours") == old.manifest.version


def test_a_large_file_comes_in_parts_side_by_side(
    s3: FakeS3, make_artifact: MakeArtifact, tmp_path: Path
) -> None:
    publish(make_artifact(padding=50_000), client=s3, bucket="b")
    pulled = ModelStore(s3, "b", part_bytes=4_000).pull("colours", tmp_path)
    parts = [span for key, span in s3.reads if key.endswith("model.onnx")]
    assert len(parts) >= 12
    assert all(parts)
    assert s3.most_under_way > 2
    assert Artifact.load(pulled.folder)


def test_an_intact_model_is_not_fetched_twice(
    s3: FakeS3, make_artifact: MakeArtifact, tmp_path: Path
) -> None:
    publish(make_artifact(), client=s3, bucket="b")
    store = ModelStore(s3, "b")
    store.pull("colours", tmp_path)
    s3.reads.clear()
    store.pull("colours", tmp_path)
    assert s3.reads == [("models/colours/current", None)]


def test_a_model_damaged_on_disk_is_fetched_again(
    s3: FakeS3, make_artifact: MakeArtifact, tmp_path: Path
) -> None:
    publish(make_artifact(), client=s3, bucket="b")
    store = ModelStore(s3, "b")
    folder = store.pull("colours", tmp_path).folder
    (folder / "model.onnx").write_bytes(b"broken")
    assert Artifact.load(store.pull("colours", tmp_path).folder)


def test_a_model_damaged_in_the_bucket_is_refused_and_leaves_nothing(
    s3: FakeS3, make_artifact: MakeArtifact, tmp_path: Path
) -> None:
    artifact = make_artifact()
    publish(artifact, client=s3, bucket="b")
    key = f"models/colours/{artifact.manifest.version}/model.onnx"
    s3.objects[key] = s3.objects[key][:-1] + b"!"
    with pytest.raises(ArtifactDamagedError, match="is damaged"):
        ModelStore(s3, "b").pull("colours", tmp_path)
    assert list((tmp_path / "colours").iterdir()) == []


def test_a_manifest_of_another_version_is_refused(
    s3: FakeS3, make_artifact: MakeArtifact, tmp_path: Path
) -> None:
    publish(make_artifact(), client=s3, bucket="b")
    other = make_artifact("other").manifest
    version = ModelStore(s3, "b").current_version("colours")
    s3.objects[f"models/colours/{version}/model.json"] = other.to_json().encode()
    with pytest.raises(ArtifactDamagedError, match="describes version"):
        ModelStore(s3, "b").pull("colours", tmp_path)


def test_an_unpublished_model_is_missing_and_a_broken_bucket_is_not(
    s3: FakeS3, make_artifact: MakeArtifact, tmp_path: Path
) -> None:
    with pytest.raises(ArtifactMissingError, match="publish the model first"):
        ModelStore(s3, "b").pull("colours", tmp_path)
    publish(make_artifact(), client=s3, bucket="b")
    s3.failing = "model.onnx"
    with pytest.raises(StoreError) as caught:
        ModelStore(s3, "b").pull("colours", tmp_path)
    assert caught.value.code == "store_unavailable"


@pytest.mark.parametrize("name", ["../secrets", "a/b", "", "A", ".."])
def test_a_name_cannot_climb_out_of_its_prefix(s3: FakeS3, tmp_path: Path, name: str) -> None:
    with pytest.raises(ArtifactMissingError):
        ModelStore(s3, "b").pull(name, tmp_path)
    assert s3.reads == []


def test_a_pointer_cannot_climb_out_of_the_folder(s3: FakeS3, tmp_path: Path) -> None:
    s3.objects["models/colours/current"] = b"../../elsewhere\n"
    with pytest.raises(ArtifactMissingError, match="no model version"):
        ModelStore(s3, "b").pull("colours", tmp_path)


def test_pulling_from_several_threads_at_once_gives_one_whole_model(
    s3: FakeS3, make_artifact: MakeArtifact, tmp_path: Path
) -> None:
    publish(make_artifact(padding=20_000), client=s3, bucket="b")
    store = ModelStore(s3, "b", part_bytes=2_000)
    with ThreadPoolExecutor(6) as pool:
        pulled = list(pool.map(lambda _: store.pull("colours", tmp_path), range(6)))
    assert len({artifact.folder for artifact in pulled}) == 1
    assert Artifact.load(pulled[0].folder)
    assert [path.name for path in (tmp_path / "colours").iterdir()] == [pulled[0].folder.name]
