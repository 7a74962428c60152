"""A detector is trained through Ultralytics and becomes a model that the streaming lane loads."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from runtime.inference.artifact import Artifact
from runtime.inference.detector import Detector
from tests.unit.fake_s3 import FakeS3
from visionstack.accuracy.errors import LabelError
from visionstack.accuracy.inputs import open_inputs
from visionstack.accuracy.results import against_labels
from visionstack.accuracy.variants import Variant, answer
from visionstack.models.building import current_folder
from visionstack.models.differences import differences
from visionstack.models.publishing import publish
from visionstack.models.versions import Versions
from visionstack.training import detecting
from visionstack.training.detecting import DetectorPlan, hash_of, train_detector
from visionstack.training.errors import TrainingError


def plan(base: Path, data: Path) -> DetectorPlan:
    return DetectorPlan(
        data=data,
        name="squares",
        model="yolo11n.yaml",
        epochs=1,
        patience=1,
        batch=4,
        size=64,
        seed=0,
        models=base / "models",
        folder=base / "out",
    )


def test_a_data_set_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="There is no data set description"):
        train_detector(plan(tmp_path, tmp_path / "gone.yaml"))


def test_a_data_set_whose_held_out_part_cannot_be_read_is_named_before_training(
    tmp_path: Path,
) -> None:
    (tmp_path / "data.yaml").write_text("names: {0: a}\n")
    with pytest.raises(TrainingError, match="val names no folder"):
        train_detector(plan(tmp_path, tmp_path / "data.yaml"))


def squares(folder: Path, parts: dict[str, int]) -> Path:
    """Pictures of one white square each, labelled; returns the YAML."""
    random = np.random.default_rng(0)
    for part, count in parts.items():
        (folder / "images" / part).mkdir(parents=True)
        (folder / "labels" / part).mkdir(parents=True)
        for number in range(count):
            pixels = random.integers(0, 60, (64, 64, 3), dtype=np.uint8)
            pixels[16:48, 16:48] = 230
            Image.fromarray(pixels).save(folder / "images" / part / f"{number}.png")
            (folder / "labels" / part / f"{number}.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    named = "".join(f"{part}: images/{part}\n" for part in parts)
    (folder / "data.yaml").write_text(f"path: .\n{named}names: {{0: white-square}}\n")
    return folder / "data.yaml"


def test_a_data_set_that_ultralytics_refuses_is_a_sentence(tmp_path: Path) -> None:
    data = squares(tmp_path, {"val": 1})
    with pytest.raises(TrainingError, match="Ultralytics could not train on"):
        train_detector(plan(tmp_path, data))


def test_a_trained_detector_is_a_model_that_tells_how_good_it_is(tmp_path: Path) -> None:
    data = squares(tmp_path, {"train": 4, "val": 4, "test": 9})
    record = train_detector(plan(tmp_path, data))
    folder = current_folder(tmp_path / "models", "squares")
    artifact = Artifact.load(folder)
    assert [label.name for label in artifact.labels()] == ["white-square"]
    assert artifact.manifest.version == record["artifact"]["version"]
    Detector.load(folder, engine="onnxruntime")

    told = json.loads((folder / "training.json").read_text("utf-8"))
    assert json.loads(json.dumps({key: record[key] for key in told})) == told
    assert "training.json" in artifact.manifest.files
    for figure in (told["test"]["ap50"], told["test"]["ap50_95"]):
        assert 0 <= figure["low"] <= figure["share"] <= figure["high"] <= 1
    data_told = told["products"]
    assert (data_told["train"], data_told["test"], data_told["judged_on"]) == (4, 9, "test")
    held_out = open_inputs(data, split="test")
    assert data_told["judged_sha256"] == hash_of(held_out.files, held_out.labels)
    assert str(tmp_path) not in (folder / "training.json").read_text("utf-8")

    # As `visionstack accuracy` scores the model that is there now.
    variant = Variant(model="squares", engine="onnxruntime", precision="fp32")
    scored = against_labels(held_out, answer(variant, held_out, models=tmp_path / "models"))
    assert told["test"]["ap50"]["share"] == scored.figures["AP50"].value

    s3 = FakeS3()
    publish(artifact, client=s3, bucket="b")
    published = Versions(s3, "b", "squares").describe(artifact.manifest.version)
    rows = {row.what: row for row in differences(published, published)}
    assert rows["test AP50-95"].new.endswith("%)")
    assert rows["test part"].new == "test"


def test_the_hash_of_a_part_follows_from_what_it_holds_and_not_from_where_it_lies(
    tmp_path: Path,
) -> None:
    def hashed(folder: Path) -> str:
        inputs = open_inputs(folder / "data.yaml")
        return hash_of(inputs.files, inputs.labels)

    squares(tmp_path / "a", {"val": 3})
    squares(tmp_path / "b", {"val": 3})
    assert hashed(tmp_path / "a") == hashed(tmp_path / "b")
    (tmp_path / "b" / "images" / "val" / "0.png").rename(tmp_path / "b" / "images/val/9.png")
    (tmp_path / "b" / "labels" / "val" / "0.txt").rename(tmp_path / "b" / "labels/val/9.txt")
    assert hashed(tmp_path / "a") == hashed(tmp_path / "b")
    (tmp_path / "b" / "labels" / "val" / "1.txt").write_text("0 0.5 0.5 0.4 0.5\n")
    assert hashed(tmp_path / "a") != hashed(tmp_path / "b")


def test_a_broken_held_out_picture_is_named_before_training(tmp_path: Path) -> None:
    data = squares(tmp_path, {"train": 1, "val": 2})
    broken = tmp_path / "images" / "val" / "1.png"
    broken.write_bytes(broken.read_bytes()[:2000])
    with pytest.raises(TrainingError, match=r"1\.png cannot be read: image file is truncated"):
        train_detector(plan(tmp_path, data))


def test_a_network_that_cannot_be_judged_is_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise LabelError("the disk went away")

    monkeypatch.setattr(detecting, "_judged", broken)
    with pytest.raises(TrainingError, match=r"is trained .* the disk went away") as caught:
        train_detector(plan(tmp_path, squares(tmp_path, {"train": 2, "val": 1})))
    (best,) = (tmp_path / "out").rglob("best.pt")
    assert str(best) in str(caught.value.remedy)
