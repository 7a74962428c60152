"""ONNX Runtime on the CPU: the engine of the Lambda function and wherever there is no better.

An artifact may hold its network a second time in ONNX Runtime's own operators (`Manifest.ready`).
That graph is loaded as it is, and its weights are mapped from their file: a session is there in
10 ms instead of 170, in a third of the memory (ResNet50). An optimised session has its weights laid
out for this processor, which makes calls faster: ResNet50's by a fifth, EfficientNet-Lite0's to a
third.

An eight-bit graph (`Manifest.int8`) is a quarter as large, and optimising it takes about as long as
its faster calls save in the first one: it is always optimised.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from runtime.inference.artifact import Artifact
from runtime.inference.engines.processor import (
    instructions,
    processor_name,
    usable_processors,
)
from runtime.inference.errors import EngineError

_LEVELS = onnxruntime.GraphOptimizationLevel
_WIDENED_FILE = {"file_name": "weights", "min_size_in_bytes": "1024"}


class OnnxRuntimeEngine:
    """One session; ONNX Runtime runs concurrent calls of it side by side."""

    name = "onnxruntime"
    on_gpu = False

    def __init__(
        self,
        artifact: Artifact,
        *,
        threads: int | None = None,
        optimised: bool = True,
        precision: str = "auto",
    ) -> None:
        self._name = artifact.manifest.name
        self._threads = threads or usable_processors()
        self.precision = "int8" if _eight_bits(artifact, precision) else "fp32"
        """Of weights that are stored more narrowly too: these are widened when they are loaded."""
        ready = artifact.ready_path
        if self.precision == "int8":
            options = self._options(_LEVELS.ORT_ENABLE_ALL, widening=False)
            self._session = self._open(artifact.folder / artifact.manifest.int8, options)
        elif not optimised and ready is not None:
            self._session = self._open_as_it_is(ready)
        elif artifact.manifest.precision == "fp32":
            self._session = self._open(artifact.model_path, self._options(_LEVELS.ORT_ENABLE_ALL))
        else:
            self._session = self._open_widened(artifact.model_path)
        self.device = processor_name()
        self._input = self._session.get_inputs()[0].name

    def run(self, batch: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        try:
            return list(self._session.run(None, {self._input: batch}))
        except Exception as error:  # pybind classes without a common base
            raise EngineError(f"ONNX Runtime failed on {batch.shape}: {error}.") from error

    def _open_as_it_is(self, path: Path) -> Any:
        """Nothing done ahead of the first call, which few follow before an optimised session."""
        options = self._options(_LEVELS.ORT_DISABLE_ALL)
        options.add_session_config_entry("session.disable_prepacking", "1")
        # One block for all of a call's tensors is allocated beside those that found it out.
        options.enable_mem_pattern = False
        return self._open(path, options)

    def _open_widened(self, path: Path) -> Any:
        """Widen narrow weights into a file first, and optimise the graph that maps it.

        In one session the widened weights and their new layout would be in memory together: 98 MiB
        more for ResNet50.
        """
        import tempfile  # seven milliseconds of a cold start, where nothing is widened

        with tempfile.TemporaryDirectory(prefix="widened-") as folder:
            wide = Path(folder) / "model.onnx"
            options = self._options(_LEVELS.ORT_ENABLE_BASIC)
            options.optimized_model_filepath = str(wide)
            for name, value in _WIDENED_FILE.items():
                options.add_session_config_entry(
                    f"session.optimized_model_external_initializers_{name}", value
                )
            self._open(path, options)
            return self._open(wide, self._options(_LEVELS.ORT_ENABLE_ALL))

    def _options(self, level: Any, *, widening: bool = True) -> Any:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        options.graph_optimization_level = level
        if widening:
            # Eight-bit weights are to become floats at load: no fusing into eight-bit operators.
            options.add_session_config_entry("session.disable_quant_qdq", "1")
        return options

    def _open(self, path: Path, options: Any) -> Any:
        try:
            return onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            raise EngineError(f"ONNX Runtime cannot load {self._name}: {error}.") from error


def _eight_bits(artifact: Artifact, precision: str) -> bool:
    if precision != "auto" or not artifact.manifest.measured:
        return precision == "int8"
    # Imported by none of the cold starts that have nothing to choose.
    from runtime.inference.engines.precisions import fastest_measured

    taken = fastest_measured(
        artifact.manifest, engine=OnnxRuntimeEngine.name, instructions=instructions()
    )
    return taken == "int8"
