"""An artifact in hand is intact; anything else is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from runtime.inference.artifact import MANIFEST, Artifact, Label, Manifest
from runtime.inference.errors import ArtifactDamagedError, ArtifactMissingError

MakeArtifact = Callable[..., Artifact]


def test_a_manifest_survives_being_written_and_read(make_artifact: MakeArtifact) -> None:
    manifest = make_artifact().manifest
    assert Manifest.from_json(manifest.to_json()) == manifest
    assert Manifest.from_json(manifest.to_json()).version == manifest.version


def test_the_version_follows_the_contents(make_artifact: MakeArtifact) -> None:
    one, same, other = make_artifact("a"), make_artifact("a"), make_artifact("b")
    assert one.manifest.version == same.manifest.version != other.manifest.version
    assert one.folder.name == one.manifest.version


def test_labels_have_the_users_ids(make_artifact: MakeArtifact) -> None:
    assert make_artifact().labels()[1] == Label("P-2", "green thing")


def test_a_label_without_an_id_has_its_number(yolov3_tiny: Artifact) -> None:
    assert yolov3_tiny.labels()[:2] == [Label("0", "person"), Label("1", "bicycle")]


def flip_a_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: flip_a_byte(folder / "model.onnx"),
        lambda folder: (folder / "model.onnx").write_bytes(b""),
        lambda folder: (folder / "labels.txt").write_text("P-1\tother\n"),
        lambda folder: (folder / "labels.txt").unlink(),
        lambda folder: (folder / MANIFEST).write_text("{"),
        lambda folder: (folder / MANIFEST).write_text("[]"),
        lambda folder: (folder / MANIFEST).write_bytes(b"\xff\xfe"),
    ],
    ids=["bit", "empty", "edited", "gone", "cut manifest", "wrong manifest", "bytes"],
)
def test_a_damaged_artifact_is_refused(
    make_artifact: MakeArtifact, damage: Callable[[Path], object]
) -> None:
    folder = make_artifact().folder
    damage(folder)
    with pytest.raises(ArtifactDamagedError) as caught:
        Artifact.load(folder)
    assert caught.value.code == "artifact_damaged"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "../../etc"),
        ("schema", 99),
        ("version", "0" * 16),
        ("model", "missing.onnx"),
        ("files", {"../model.onnx": {"sha256": "0", "bytes": 1}}),
        ("files", None),
        ("input", {"width": 8}),
        ("surprise", 1),
    ],
)
def test_a_manifest_that_was_edited_is_refused(
    make_artifact: MakeArtifact, field: str, value: object
) -> None:
    document = json.loads(make_artifact().manifest.to_json())
    document[field] = value
    with pytest.raises(ArtifactDamagedError):
        Manifest.from_json(json.dumps(document))


def test_a_missing_artifact_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(ArtifactMissingError, match="no model at"):
        Artifact.load(tmp_path / "nothing")


def test_reading_an_artifact_takes_the_standard_library_only(
    run_python: Callable[[str], str],
) -> None:
    loaded = run_python(
        "import sys; before = set(sys.modules)\n"
        "import runtime.inference.artifact\n"
        "new = {name.partition('.')[0] for name in set(sys.modules) - before"
        " if sys.modules[name] is not None}\n"
        "print(sorted(new - set(sys.stdlib_module_names)))"
    )
    assert loaded.strip() == "['runtime']"
