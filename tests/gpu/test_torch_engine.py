"""torch on a GPU: the artifact's own answers, for any batch, from any thread."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import numpy as np
import pytest

from runtime.inference.artifact import Artifact
from runtime.inference.detector import Detector
from runtime.inference.engines import choose_engine, create_engine
from runtime.inference.pictures import decode_bgr
from runtime.streaming.host.gpus import find_gpus
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


def test_a_new_version_is_captured_while_the_old_one_serves(artifact: Artifact) -> None:
    """As in a hot reload: CUDA ends a capture when another thread allocates or waits meanwhile."""
    serving = create_engine("torch", artifact)
    pictures = np.random.default_rng(1).integers(0, 255, (1, 416, 416, 3), np.uint8)
    expected = serving.run(pictures)
    over = Event()

    def serve() -> int:
        answered = 0
        while not over.is_set():
            for ours, first in zip(serving.run(pictures), expected, strict=True):
                assert np.abs(ours - first).max() < 0.3
            answered += 1
        return answered

    with ThreadPoolExecutor(2) as pool:
        served = [pool.submit(serve) for _ in range(2)]
        try:
            for _ in range(3):
                beside = create_engine("torch", artifact)
                for count in (1, 2, 4, 8):
                    found = beside.run(np.repeat(pictures, count, axis=0))
                    for ours, first in zip(found, expected, strict=True):
                        assert np.abs(ours - first).max() < 0.3
        finally:
            over.set()
        assert all(future.result() > 0 for future in served)


def test_the_gpus_use_is_read_and_rises_with_work(artifact: Artifact) -> None:
    gpus = find_gpus()
    assert gpus is not None
    engine = create_engine("torch", artifact)
    pictures = np.zeros((8, 416, 416, 3), np.uint8)
    busiest = 0.0
    until = time.monotonic() + 3
    while time.monotonic() < until:
        engine.run(pictures)
        busiest = max(busiest, *gpus.busy_shares())
    assert 0 < busiest <= 1
