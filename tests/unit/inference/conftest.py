"""Built models and real pictures, made once and kept in the checkout's own cache."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from runtime.inference.artifact import Artifact, Preprocessing, Weights
from visionstack.models.building import build, write_artifact
from visionstack.models.catalog import find_recipe
from visionstack.models.draft import Draft
from visionstack.models.packages import FOOLBOX, fetch_members
from visionstack.paths import MODELS, SAMPLES

MakeArtifact = Callable[..., Artifact]


@pytest.fixture(scope="session")
def yolov3_tiny() -> Artifact:
    return build(find_recipe("yolov3-tiny"), root=MODELS).artifact


@pytest.fixture(scope="session")
def efficientnet_lite0() -> Artifact:
    return build(find_recipe("efficientnet-lite0"), root=MODELS).artifact


@pytest.fixture(scope="session")
def imagenet_pictures() -> list[tuple[int, bytes]]:
    """Twenty ImageNet pictures with their class numbers, out of the package foolbox."""
    cache = MODELS / "cache"
    paths = sorted(cache.glob("imagenet_*.jpg"))
    if len(paths) < 20:
        paths = sorted(fetch_members(FOOLBOX, "foolbox/data/imagenet_", cache=cache))
    return [(int(path.stem.rpartition("_")[2]), path.read_bytes()) for path in paths]


@pytest.fixture
def dog() -> bytes:
    return (SAMPLES / "dog.jpg").read_bytes()


@pytest.fixture
def make_artifact(tmp_path: Path) -> MakeArtifact:
    def make(name: str = "colours", *, padding: int = 0) -> Artifact:
        return write_colours(name, padding=padding, root=tmp_path / "models")

    return make


def write_colours(name: str, *, root: Path, padding: int = 0) -> Artifact:
    """A classifier of a few kilobytes that answers with the means of red, green and blue."""
    draft = Draft(
        model=_mean_colours(padding),
        task="classify",
        family="classifier",
        size=8,
        preprocessing=Preprocessing(kind="crop", resize=8),
        labels=["P-1\tred thing", "P-2\tgreen thing", "P-3\tblue thing"],
        weights=Weights(trained=True, description="none to speak of"),
        source="tests",
        licence="AGPL-3.0",
    )
    return write_artifact(name, draft, root=root, say=lambda _: None)


def _mean_colours(padding: int) -> onnx.ModelProto:
    """`padding` adds that many unused bytes, so that a file can be made of several parts."""
    nodes = [
        helper.make_node("Transpose", ["pictures"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["planes"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("GlobalAveragePool", ["floats"], ["means"]),
        helper.make_node("Flatten", ["means"], ["flat"]),
        helper.make_node("Gemm", ["flat", "unit"], ["logits"], transB=1),
    ]
    constants = [numpy_helper.from_array(np.eye(3, dtype=np.float32), "unit")]
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "colours",
            [helper.make_tensor_value_info("pictures", TensorProto.UINT8, ["batch", 8, 8, 3])],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 3])],
            constants,
        ),
        opset_imports=[helper.make_opsetid("", 17)],
    )
    model.ir_version = 9
    model.doc_string = "." * padding
    return model


@pytest.fixture
def run_python() -> Callable[[str], str]:
    """Runs code in a fresh interpreter and gives what it printed."""

    def run(code: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", code], check=False, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run
