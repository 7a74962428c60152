"""A classifier and a detector of a few kilobytes in two versions whose answers can't be mistaken.

The second version's network gives every picture another class (and box) than the first one's, and
its labels are moved in step, so that one version's network with the other's labels, or the name of
one with the answer of the other, is seen in every single answer.
"""

from __future__ import annotations

import functools
import io
from pathlib import Path
from typing import Final

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from runtime.inference.artifact import Artifact, Preprocessing, Weights
from visionstack.models.building import write_artifact
from visionstack.models.draft import Draft

CLASSIFIER: Final = "turning-classifier"
DETECTOR: Final = "turning-detector"
VERSIONS: Final = (0, 1)
BOXES: Final = ((4.0, 4.0, 20.0, 20.0), (40.0, 36.0, 60.0, 58.0))
"""Of the detector's versions, in pixels of its input, which is also the size of `picture`."""
_SIDE: Final = 64
_PICTURES: Final = 40
_COLOURS: Final = ("red", "green", "blue")
_MADE: Final = Weights(trained=True, description="made by hand: means of colours")


def picture() -> bytes:
    """A red JPEG of the networks' own size."""
    return pictures()[0]


@functools.cache
def pictures() -> tuple[bytes, ...]:
    """Such pictures, no two alike."""
    files = []
    for blue in range(30, 30 + 2 * _PICTURES, 2):
        file = io.BytesIO()
        image = Image.new("RGB", (_SIDE, _SIDE), (220, 20, blue))
        image.save(file, "JPEG", quality=100, subsampling=0)
        files.append(file.getvalue())
    return tuple(files)


def product(version: int) -> str:
    """The id that the classifier's version gives to `picture`."""
    return f"v{version}-red"


def label(version: int) -> str:
    """The label that the detector's version gives to what it finds."""
    return f"thing of v{version}"


def classifier(version: int, *, root: Path) -> Artifact:
    """Means of the three colours; the second version has them in another order."""
    order = np.roll(np.arange(3), version)
    graph = _graph(
        [
            helper.make_node("Transpose", ["pictures"], ["planes"], perm=[0, 3, 1, 2]),
            helper.make_node("Cast", ["planes"], ["floats"], to=TensorProto.FLOAT),
            helper.make_node("GlobalAveragePool", ["floats"], ["means"]),
            helper.make_node("Flatten", ["means"], ["flat"]),
            helper.make_node("Gemm", ["flat", "order"], ["logits"], transB=1),
        ],
        {"order": np.eye(3, dtype=np.float32)[order] / 16},
        output=("logits", ["batch", 3]),
    )
    return _written(
        CLASSIFIER,
        Draft(
            model=graph,
            task="classify",
            family="classifier",
            size=_SIDE,
            preprocessing=Preprocessing(kind="crop", resize=_SIDE),
            labels=[f"v{version}-{_COLOURS[index]}\t{_COLOURS[index]} thing" for index in order],
            weights=_MADE,
            source="benchmarks",
            licence="AGPL-3.0",
        ),
        root=root,
    )


def detector(version: int, *, root: Path, edition: str = "benchmarks") -> Artifact:
    """One thing in every picture, at the version's place and of the version's class.

    Another `edition` answers the same under another version's name.
    """
    row = np.array([[[*BOXES[version], 0.5, version]]], np.float32)
    share = np.array([[[0, 0, 0, 0, 1e-3, 0]]], np.float32)
    graph = _graph(
        [
            helper.make_node("Cast", ["pictures"], ["floats"], to=TensorProto.FLOAT),
            helper.make_node("Flatten", ["floats"], ["flat"]),
            helper.make_node("ReduceMean", ["flat"], ["mean"], axes=[1], keepdims=1),
            helper.make_node("Unsqueeze", ["mean", "last"], ["means"]),
            helper.make_node("Mul", ["means", "share"], ["scores"]),
            helper.make_node("Add", ["scores", "row"], ["found"]),
        ],
        {"row": row, "share": share, "last": np.array([2], np.int64)},
        output=("found", ["batch", 1, 6]),
    )
    labels = ["another version's", "another version's"]
    labels[version] = label(version)
    return _written(
        DETECTOR,
        Draft(
            model=graph,
            task="detect",
            family="end-to-end",
            size=_SIDE,
            preprocessing=Preprocessing(kind="letterbox", fill=127),
            labels=labels,
            weights=_MADE,
            source=edition,
            licence="AGPL-3.0",
        ),
        root=root,
    )


def _graph(
    nodes: list[onnx.NodeProto],
    constants: dict[str, np.ndarray],
    *,
    output: tuple[str, list[str | int]],
) -> onnx.ModelProto:
    name, shape = output
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "turning",
            [
                helper.make_tensor_value_info(
                    "pictures", TensorProto.UINT8, ["batch", _SIDE, _SIDE, 3]
                )
            ],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)],
            [numpy_helper.from_array(value, key) for key, value in constants.items()],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
    )
    model.ir_version = 9
    return model


def _written(name: str, draft: Draft, *, root: Path) -> Artifact:
    return write_artifact(name, draft, root=root, say=lambda _: None)
