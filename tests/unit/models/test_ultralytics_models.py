"""Ultralytics' networks give through the artifact what they give in Ultralytics."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from runtime.inference.artifact import Artifact
from runtime.inference.detector import Detector
from runtime.inference.engines import ENGINES, create_engine
from visionstack.models.building import build
from visionstack.models.catalog import find_recipe
from visionstack.models.draft import BuildOptions
from visionstack.models.errors import WeightsError
from visionstack.models.ultralytics_models import import_tasks
from visionstack.paths import MODELS

SIZE = 64
LABELS = {0: "bolt", 1: "nut", 2: "washer"}


@pytest.fixture(
    scope="module", params=["yolov3-tiny.yaml", "yolov8n.yaml", "yolov10n.yaml", "yolo26n.yaml"]
)
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network of three classes whose scores are not all but zero, saved as Ultralytics does."""
    import torch

    tasks = import_tasks(MODELS / "cache")
    torch.manual_seed(11)
    network = tasks.DetectionModel(request.param, nc=3, verbose=False)
    network.names = LABELS
    head = network.model[-1]
    for branch in (head.cv3, getattr(head, "one2one_cv3", None)):
        for layers in branch or ():
            torch.nn.init.normal_(layers[-1].bias, -1, 1)
    if getattr(head, "one2one_cv3", None) is not None:
        # Scores that differ from place to place, or the best of them would be those of rounding.
        for layer in network.modules():
            if isinstance(layer, torch.nn.BatchNorm2d):
                layer.momentum = None
    # Batch statistics of real training, or bfloat16 would be compared on vanishing signals.
    network.train()
    with torch.no_grad():
        for _ in range(4):
            network(torch.rand(4, 3, SIZE, SIZE))
    network.eval()
    path = tmp_path_factory.mktemp("checkpoints") / "My_Best.pt"
    torch.save({"model": network, "train_args": {}}, path)
    return path


@pytest.fixture(scope="module")
def artifact(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    recipe = find_recipe(str(checkpoint), called="bolts")
    root = tmp_path_factory.mktemp("models")
    return build(recipe, root=root, options=BuildOptions(size=SIZE)).artifact


def ultralytics_outputs(checkpoint: Path, pictures: np.ndarray) -> np.ndarray:
    """What Ultralytics' own forward gives for red-first pictures up to 1."""
    import torch

    network, _ = import_tasks(MODELS / "cache").load_checkpoint(str(checkpoint))
    if getattr(network.model[-1], "one2one_cv2", None) is not None:
        network.end2end = True
    planes = torch.from_numpy(pictures[:, :, :, ::-1].copy()).permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        outputs = network(planes)
    return outputs[0].numpy()


def share_found(rows: np.ndarray, others: np.ndarray, *, pixels: float, score: float) -> float:
    """The share of the rows x1, y1, x2, y2, score, class that have one like it among the others."""
    apart = np.abs(rows[:, None] - others[None])
    near = (apart[..., :4].max(-1) < pixels) & (apart[..., 4] < score) & (apart[..., 5] < 0.5)
    return float(near.any(axis=1).mean())


@pytest.mark.parametrize("engine", ENGINES)
def test_outputs_are_those_of_ultralytics_in_every_engine(
    checkpoint: Path, artifact: Artifact, engine: str
) -> None:
    pictures = np.random.default_rng(2).integers(0, 255, (2, SIZE, SIZE, 3), np.uint8)
    expected = ultralytics_outputs(checkpoint, pictures)
    (exact,) = create_engine(engine, artifact, precision="fp32").run(pictures)
    assert exact.shape == expected.shape
    if artifact.manifest.family == "end-to-end":
        (fast,) = create_engine(engine, artifact).run(pictures)
        for picture in range(len(pictures)):
            assert share_found(expected[picture], exact[picture], pixels=5e-3, score=1e-3) == 1
            # Where the processor computes in half precision, a network that was never trained
            # moves some of its boxes by many pixels; what is mixed up has hardly a box in place.
            assert share_found(expected[picture][:60], fast[picture], pixels=2, score=0.1) > 0.25
        return
    assert exact.shape[1] == 4 + len(LABELS)
    assert np.abs(exact - expected).max() < 5e-3
    (fast,) = create_engine(engine, artifact).run(pictures)
    # Half precision moves boxes by parts of a pixel, not by pixels.
    assert np.abs(fast[:, :4] - expected[:, :4]).max() < 2
    assert np.abs(fast[:, 4:] - expected[:, 4:]).max() < 0.1


def test_the_checkpoints_own_labels_are_used(artifact: Artifact) -> None:
    detector = Detector.load(artifact, engine="onnxruntime")
    assert detector.labels == ("bolt", "nut", "washer")
    assert detector.manifest.weights.trained
    assert detector.manifest.name == "bolts"
    image = np.random.default_rng(3).integers(0, 255, (90, 120, 3), np.uint8)
    (found,) = detector.detect([image], confidence=0.05)
    assert found
    assert {detection.label for detection in found} <= set(LABELS.values())
    for detection in found:
        x1, y1, x2, y2 = detection.box
        assert 0 <= x1 <= x2 <= 120
        assert 0 <= y1 <= y2 <= 90


def test_the_name_is_the_files_when_none_is_given(checkpoint: Path) -> None:
    assert find_recipe(str(checkpoint)).name == "my_best"


@pytest.mark.parametrize("name", ["yolov3-tiny.pt", "it's.pt"])
def test_a_checkpoint_is_taken_as_it_is_whatever_its_name(
    checkpoint: Path, artifact: Artifact, tmp_path: Path, name: str
) -> None:
    """Ultralytics would look for its own yolov3u.pt instead, and fetch it."""
    path = tmp_path / name
    path.symlink_to(checkpoint)
    recipe = find_recipe(str(path), called="bolts")
    built = build(recipe, root=tmp_path / "models", options=BuildOptions(size=SIZE)).artifact
    digests = [one.manifest.files["model.onnx"].sha256 for one in (built, artifact)]
    assert digests[0] == digests[1]


def test_a_file_that_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "no.pt"
    with pytest.raises(WeightsError, match="no checkpoint at"):
        build(find_recipe(str(path)), root=tmp_path)
    path.write_bytes(b"no checkpoint")
    with pytest.raises(WeightsError, match="no Ultralytics checkpoint"):
        build(find_recipe(str(path)), root=tmp_path)


def test_importing_ultralytics_leaves_pillow_alone() -> None:
    from PIL import Image

    before = Image.open
    import_tasks(MODELS / "cache")
    assert Image.open is before
