"""torch on a GPU: the artifact's own answers, for any batch, from any thread."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from runtime.inference.artifact import Artifact
from runtime.inference.detector import Detector
from runtime.inference.engines import choose_engine, create_engine
from runtime.inference.pictures import decode_bgr
from visionstack.models.building import build
from visionstack.models.catalog import find_recipe
from visionstack.paths import MODELS, SAMPLES

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def artifact() -> Artifact:
    return build(find_recipe("yolov3-tiny"), root=MODELS).artifact


def test_a_gpu_is_the_first_choice() -> None:
    assert choose_engine() == "torch"


def test_half_precision_and_the_gpus_name_are_reported(artifact: Artifact) -> None:
    import torch

    engine = create_engine("torch", artifact)
    assert engine.precision == "fp16"
    assert engine.device == torch.cuda.get_device_name()


@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_every_batch_size_gives_the_networks_outputs(artifact: Artifact, count: int) -> None:
    pictures = np.random.default_rng(count).integers(0, 255, (count, 416, 416, 3), np.uint8)
    expected = create_engine("onnxruntime", artifact).run(pictures)
    for precision, tolerance in (("fp32", 1e-2), ("auto", 0.3)):
        found = create_engine("torch", artifact, precision=precision).run(pictures)
        for ours, theirs in zip(found, expected, strict=True):
            assert ours.shape == theirs.shape
            assert np.abs(ours - theirs).max() < tolerance


def test_threads_share_a_captured_graph_without_mixing_answers(artifact: Artifact) -> None:
    detector = Detector.load(artifact, engine="torch")
    images = [decode_bgr((SAMPLES / f"{n}.jpg").read_bytes()) for n in ("dog", "person", "horses")]
    expected = [detector.detect([image])[0] for image in images]
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda n: detector.detect([images[n % 3]])[0], range(60)))
    for number, detections in enumerate(found):
        assert [d.label for d in detections] == [d.label for d in expected[number % 3]]
