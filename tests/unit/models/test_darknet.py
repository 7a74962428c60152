"""Darknet networks are read as darknet and OpenCV read them, and every float finds its place."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest

from runtime.inference.letterbox import Letterbox
from tests.unit.models.conftest import TINY_CFG, TINY_FLOATS, tiny_values, write_weights
from visionstack.models.darknet import RandomWeights, WeightsReader, build_network, parse_cfg
from visionstack.models.darknet_models import CFG
from visionstack.models.errors import ModelError, WeightsError
from visionstack.models.onnx_graph import flop
from visionstack.models.packages import YOLOV3_TINY_WEIGHTS, fetch_packaged
from visionstack.paths import MODELS, SAMPLES


def run(model: onnx.ModelProto, pictures: np.ndarray) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return session.run(None, {"pictures": pictures})


def cfg(name: str) -> str:
    return (CFG / f"{name}.cfg").read_text()


@pytest.fixture(scope="module")
def official() -> Path:
    return fetch_packaged(YOLOV3_TINY_WEIGHTS, cache=MODELS / "cache")


def test_yolov3_tiny_gives_the_raw_outputs_of_opencv_on_the_dog(official: Path) -> None:
    network = build_network(parse_cfg(cfg("yolov3-tiny")), WeightsReader.open(official))
    image = cv2.imread(str(SAMPLES / "dog.jpg"))
    letterbox = Letterbox.fit(source=image.shape[1::-1], target=(416, 416))
    picture = letterbox.place(image, fill=128)
    ours = run(network.model, picture[None])
    oracle = cv2.dnn.readNetFromDarknet(str(CFG / "yolov3-tiny.cfg"), str(official))
    oracle.setInput(cv2.dnn.blobFromImage(picture, 1 / 255, swapRB=True))
    theirs = oracle.forward(["conv_15", "conv_22"])
    assert [head.shape for head in ours] == [(1, 255, 13, 13), (1, 255, 26, 26)]
    for mine, other in zip(ours, theirs, strict=True):
        assert np.abs(mine - other).max() < 1e-3


def test_the_second_head_of_yolov3_tiny_has_the_anchors_its_weights_were_trained_with() -> None:
    network = build_network(parse_cfg(cfg("yolov3-tiny")), RandomWeights(), size=96)
    assert network.anchors == (
        ((81, 82), (135, 169), (344, 319)),
        ((23, 27), (37, 58), (81, 82)),
    )


def test_every_kind_of_layer_is_that_of_opencv(tmp_path: Path) -> None:
    weights = write_weights(tmp_path / "tiny.weights", tiny_values())
    (tmp_path / "tiny.cfg").write_text(TINY_CFG)
    network = build_network(parse_cfg(TINY_CFG), WeightsReader.open(weights))
    picture = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    (ours,) = run(network.model, picture[None])
    oracle = cv2.dnn.readNetFromDarknet(str(tmp_path / "tiny.cfg"), str(weights))
    oracle.setInput(cv2.dnn.blobFromImage(picture, 1 / 255, swapRB=True))
    theirs = oracle.forward("conv_6")
    assert ours.shape == theirs.shape == (1, 21, 64, 64)
    assert np.abs(ours - theirs).max() < 1e-3
    assert network.anchors == (((10, 14), (23, 27), (37, 58)),)
    assert network.classes == 2


@pytest.mark.parametrize("more", [-1, 1, 100])
def test_weights_of_another_network_are_refused(tmp_path: Path, more: int) -> None:
    weights = write_weights(tmp_path / "other.weights", tiny_values(TINY_FLOATS + more))
    with pytest.raises(WeightsError, match=r"other\.weights holds"):
        build_network(parse_cfg(TINY_CFG), WeightsReader.open(weights))


def test_an_old_header_has_a_shorter_count(tmp_path: Path) -> None:
    old = write_weights(tmp_path / "old.weights", tiny_values(), version=(0, 1))
    new = write_weights(tmp_path / "new.weights", tiny_values(), version=(0, 2))
    models = [build_network(parse_cfg(TINY_CFG), WeightsReader.open(p)).model for p in (old, new)]
    assert models[0] == models[1]


@pytest.mark.parametrize("data", [b"", b"abc", bytes(21)])
def test_a_file_that_is_no_weights_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "no.weights"
    path.write_bytes(data)
    with pytest.raises(WeightsError, match=r"no\.weights"):
        build_network(parse_cfg(TINY_CFG), WeightsReader.open(path))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"gone\.weights cannot be read"):
        WeightsReader.open(tmp_path / "gone.weights")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "does not begin with"),
        ("[convolutional]\nfilters=1", "does not begin with"),
        ("width=1\n[net]", "Line 1"),
        ("[net]\nwidth", "Line 2"),
        ("[net]\nwidth=64\nheight=64\n[lstm]", r"\[lstm\]"),
        ("[net]\nwidth=64\nheight=64\n[convolutional]\nsize=3", "lacks filters"),
        ("[net]\nwidth=64\nheight=64\n[convolutional]\nfilters=many\nsize=3", "no number"),
        ("[net]\nwidth=64\nheight=64\n[route]\nlayers=5", "layer 5"),
        ("[net]\nwidth=64\nheight=64\n[maxpool]\nsize=2\nstride=2", "no detector"),
        (
            "[net]\nwidth=64\nheight=64\n[convolutional]\nfilters=1\nsize=1\nactivation=mish",
            "mish",
        ),
    ],
)
def test_a_cfg_that_cannot_be_built_says_where(text: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        build_network(parse_cfg(text), RandomWeights())


@pytest.mark.parametrize(
    ("name", "floats", "gigaflop"), [("yolov3", 62_001_757, 65.9), ("yolov3-tiny", 8_858_734, 5.6)]
)
def test_the_networks_have_the_published_size(name: str, floats: int, gigaflop: float) -> None:
    sections = parse_cfg(cfg(name))
    values = WeightsReader(np.ones(floats, np.float32), name="ones")
    network = build_network(sections, values, size=416)
    assert flop(network.model) / 1e9 == pytest.approx(gigaflop, abs=0.1)
    # Folding turns four numbers a filter into one.
    folded = sum(
        3 * s.integer("filters") for s in sections if s.options.get("batch_normalize") == "1"
    )
    upsampling = sum(4 for s in sections if s.name == "upsample")
    held = sum(math.prod(tensor.dims) for tensor in network.model.graph.initializer)
    assert held == floats - folded + upsampling


def test_random_weights_stay_finite_and_find_nothing() -> None:
    network = build_network(parse_cfg(cfg("yolov3-tiny")), RandomWeights(), size=96)
    pictures = np.random.default_rng(0).integers(0, 255, (1, 96, 96, 3), np.uint8)
    for head in run(network.model, pictures):
        objectness = head.reshape(3, 85, -1)[:, 4]
        assert np.isfinite(head).all()
        assert objectness.max() < -2
    again = build_network(parse_cfg(cfg("yolov3-tiny")), RandomWeights(), size=96)
    assert again.model == network.model
