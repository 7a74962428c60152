"""A detector is trained through Ultralytics and becomes a model that the streaming lane loads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from runtime.inference.artifact import Artifact
from runtime.inference.detector import Detector
from visionstack.models.building import current_folder
from visionstack.training.detecting import DetectorPlan, train_detector
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


def test_a_data_set_that_ultralytics_refuses_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "data.yaml").write_text("names: {0: a}\n")
    with pytest.raises(TrainingError, match="Ultralytics could not train on"):
        train_detector(plan(tmp_path, tmp_path / "data.yaml"))


def test_a_trained_detector_is_a_model_with_the_users_names(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for part in ("train", "val"):
        (tmp_path / "images" / part).mkdir(parents=True)
        (tmp_path / "labels" / part).mkdir(parents=True)
        for number in range(4):
            pixels = random.integers(0, 60, (64, 64, 3), dtype=np.uint8)
            pixels[16:48, 16:48] = 230
            Image.fromarray(pixels).save(tmp_path / "images" / part / f"{number}.png")
            line = "0 0.5 0.5 0.5 0.5\n"
            (tmp_path / "labels" / part / f"{number}.txt").write_text(line)
    (tmp_path / "data.yaml").write_text(
        f"path: {tmp_path}\ntrain: images/train\nval: images/val\nnames: {{0: white-square}}\n"
    )
    record = train_detector(plan(tmp_path, tmp_path / "data.yaml"))
    assert record["figures"]["part"] == "val"
    folder = current_folder(tmp_path / "models", "squares")
    artifact = Artifact.load(folder)
    assert [label.name for label in artifact.labels()] == ["white-square"]
    assert artifact.manifest.version == record["artifact"]["version"]
    Detector.load(folder, engine="onnxruntime")
