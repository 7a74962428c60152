"""Eight-bit convolutions: calibrated QDQ graphs, and artifacts that hold one beside fp32.

By ONNX Runtime's static quantization, which is installed wherever models are built. ONNX Runtime
and OpenVINO compute its QDQ graphs in int8.
"""

from __future__ import annotations

import json
import logging
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray

from runtime.inference.artifact import MANIFEST, Artifact, Measured, Task, file_entry
from visionstack.files import replace_file
from visionstack.models.errors import ModelError

INT8: Final = "model.int8.onnx"
MOST_PICTURES: Final = 48
"""To calibrate with: more change the ranges little and take seconds each ten."""
_QUANTIZED: Final[dict[Task, tuple[str, ...]]] = {
    "detect": ("Conv", "LeakyRelu", "MaxPool", "Concat", "Resize"),
    # Not what follows the pooling: the last product is little work, and its 8 bits would make ties.
    "classify": ("Conv", "Relu", "Clip", "Add", "MaxPool", "AveragePool", "GlobalAveragePool"),
}
_FEWEST: Final = 8


def quantize(artifact: Artifact, batches: Iterable[NDArray[np.uint8]], target: Path) -> None:
    """Write the network to `target` with int8 weights by channel and uint8 activations.

    `batches` are calibration inputs (1, height, width, 3) as the network takes them; activations
    get the range from the least to the greatest value seen. Raises `ModelError`.
    """
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.calibrate import CalibrationDataReader

    if artifact.manifest.precision != "fp32":
        raise ModelError(
            f"{artifact.manifest.name} has weights stored in {artifact.manifest.precision}.",
            remedy="Quantize the model that is stored in fp32.",
        )
    name = onnx.load(artifact.model_path, load_external_data=False).graph.input[0].name
    inputs = [{name: batch} for batch in batches]
    if len(inputs) < _FEWEST:
        raise ModelError(
            f"{len(inputs)} pictures are too few to calibrate with: {_FEWEST} are needed.",
            remedy="Name a folder or a clip with more: --pictures",
        )

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # untyped library
        def __init__(self) -> None:
            self._left = iter(inputs)

        def get_next(self) -> Any:
            return next(self._left, None)

    with tempfile.TemporaryDirectory(prefix="quantizing-") as folder:
        whole = Path(folder) / "whole.onnx"
        onnx.save(onnx.load(artifact.model_path), whole)
        # It advises to simplify the graph first, as every artifact's graph is.
        logging.disable(logging.WARNING)
        try:
            quantize_static(
                str(whole),
                str(target),
                Reader(),
                quant_format=QuantFormat.QDQ,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                per_channel=True,
                op_types_to_quantize=list(_QUANTIZED[artifact.manifest.task]),
            )
        finally:
            logging.disable(logging.NOTSET)


def with_int8(artifact: Artifact, graph: Path, measured: Iterable[Measured] = ()) -> Artifact:
    """A new version of the artifact beside it that holds `graph` and its figures; not yet current.

    A file of that version that lies there damaged is written anew.
    """
    home = artifact.folder.parent
    partial = Path(tempfile.mkdtemp(prefix=".building.", dir=home))
    try:
        for name in artifact.manifest.files:
            if name != artifact.manifest.int8:
                shutil.copyfile(artifact.folder / name, partial / name)
        shutil.copyfile(graph, partial / INT8)
        files = {path.name: file_entry(path) for path in sorted(partial.iterdir())}
        manifest = artifact.manifest._replace(files=files, int8=INT8, measured=tuple(measured))
        (partial / MANIFEST).write_text(manifest.to_json(), "utf-8")
        partial.chmod(0o755)
        final = home / manifest.version
        shutil.rmtree(final, ignore_errors=True)
        partial.rename(final)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return Artifact(final, manifest)


def make_current(artifact: Artifact, *, instead_of: Artifact) -> None:
    """Point the model's `current` at it, and let `build` know it for what it built."""
    home = artifact.folder.parent
    recipe = home / "recipe.json"
    known = json.loads(recipe.read_text("utf-8")) if recipe.exists() else {}
    if known.get("version") == instead_of.folder.name:
        replace_file(recipe, json.dumps({**known, "version": artifact.folder.name}))
    replace_file(home / "current", artifact.folder.name + "\n")
