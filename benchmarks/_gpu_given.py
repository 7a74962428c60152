"""What the parts of `benchmarks/gpu_check.py` are given: a model, pictures, noise, a stopwatch."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from visionstack.paths import MODELS, SAMPLES

if TYPE_CHECKING:
    from runtime.inference.artifact import Artifact

PICTURES: Final = ("dog.jpg", "person.jpg", "horses.jpg")
SECONDS: Final = 4.0
"""For which what matters most is timed."""


def artifact() -> Artifact:
    """yolov3 where it is built, else yolov3-tiny, with random weights if it has to be made here."""
    from runtime.inference.artifact import Artifact

    for name in ("yolov3", "yolov3-tiny"):
        current = MODELS / name / "current"
        if current.is_file():
            return Artifact.load(MODELS / name / current.read_text("utf-8").strip())
    from runtime.inference.artifact import Preprocessing
    from visionstack.models.building import write_artifact
    from visionstack.models.darknet import RandomWeights, build_network, parse_cfg
    from visionstack.models.darknet_models import CFG
    from visionstack.models.draft import RANDOM, Draft, read_labels

    cfg = (CFG / "yolov3-tiny.cfg").read_text("utf-8")
    network = build_network(parse_cfg(cfg), RandomWeights(), size=416)
    draft = Draft(
        model=network.model,
        task="detect",
        family="darknet",
        size=416,
        preprocessing=Preprocessing(kind="letterbox", fill=127),
        labels=read_labels("coco"),
        weights=RANDOM,
        source="made by gpu-check",
        licence="none",
        anchors=network.anchors,
    )
    return write_artifact("yolov3-tiny-random", draft, root=MODELS, say=lambda _: None)


def images() -> list[NDArray[np.uint8]]:
    """The sample pictures' pixels."""
    from runtime.inference.pictures import decode_bgr

    return [decode_bgr((SAMPLES / name).read_bytes()) for name in PICTURES]


def noise(count: int, model: Artifact) -> NDArray[np.uint8]:
    """Pictures as the network takes them."""
    size = model.manifest.input
    shape = (count, size.height, size.width, 3)
    return np.random.default_rng(count).integers(0, 255, shape, np.uint8)


def times(call: Callable[[], object], *, seconds: float) -> list[float]:
    """Milliseconds of each call, for so long and at least five times, after a first."""
    call()
    found: list[float] = []
    until = time.perf_counter() + seconds
    while time.perf_counter() < until or len(found) < 5:
        start = time.perf_counter()
        call()
        found.append((time.perf_counter() - start) * 1000)
    return found
