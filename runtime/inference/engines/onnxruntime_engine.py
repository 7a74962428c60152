"""ONNX Runtime on the CPU: the engine of the Lambda function and wherever there is no better.

An artifact may hold its network a second time in ONNX Runtime's own operators (`Manifest.ready`).
That graph is loaded without being optimised again, and its weights are mapped from their file: a
session is there in 20 ms instead of 600, in 60 MB instead of 300 (ResNet50). An optimised session
has its weights laid out for this processor, which makes calls faster: ResNet50's by a fifth,
EfficientNet-Lite0's to a third.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from runtime.inference.artifact import Artifact
from runtime.inference.engines.processor import processor_name, usable_processors
from runtime.inference.errors import EngineError

_LEVELS = onnxruntime.GraphOptimizationLevel


class OnnxRuntimeEngine:
    """One session; ONNX Runtime runs concurrent calls of it side by side."""

    name = "onnxruntime"
    precision = "fp32"
    """Narrower weights are widened when they are loaded."""

    def __init__(
        self, artifact: Artifact, *, threads: int | None = None, optimised: bool = True
    ) -> None:
        self._name = artifact.manifest.name
        self._threads = threads or usable_processors()
        ready = artifact.ready_path
        if optimised or ready is None:
            self._session = self._open(artifact.model_path, _LEVELS.ORT_ENABLE_ALL)
        else:
            narrow = artifact.manifest.precision != "fp32"
            # Narrow weights are widened once, by folding constants, and not at every call.
            level = _LEVELS.ORT_ENABLE_BASIC if narrow else _LEVELS.ORT_DISABLE_ALL
            self._session = self._open(ready, level)
        self.device = processor_name()
        self._input = self._session.get_inputs()[0].name

    def run(self, batch: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        try:
            return list(self._session.run(None, {self._input: batch}))
        except Exception as error:  # pybind classes without a common base
            raise EngineError(f"ONNX Runtime failed on {batch.shape}: {error}.") from error

    def _open(self, path: Path, level: Any) -> Any:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        options.graph_optimization_level = level
        # Eight-bit weights are to become floats at load: no fusing into eight-bit operators.
        options.add_session_config_entry("session.disable_quant_qdq", "1")
        try:
            return onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            raise EngineError(f"ONNX Runtime cannot load {self._name}: {error}.") from error
