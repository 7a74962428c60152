"""ONNX Runtime on the CPU: the engine of the Lambda function and wherever there is no better."""

from __future__ import annotations

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from runtime.inference.artifact import Artifact
from runtime.inference.engines.processor import processor_name, usable_processors
from runtime.inference.errors import EngineError


class OnnxRuntimeEngine:
    """One session; ONNX Runtime runs concurrent calls of it side by side."""

    name = "onnxruntime"

    def __init__(self, artifact: Artifact, *, threads: int | None = None) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or usable_processors()
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(
                str(artifact.model_path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # pybind classes without a common base
            raise EngineError(
                f"ONNX Runtime cannot load {artifact.manifest.name}: {error}."
            ) from error
        self.precision = "int8" if artifact.manifest.precision == "int8" else "fp32"
        self.device = processor_name()
        self._input = self._session.get_inputs()[0].name

    def run(self, batch: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        try:
            return list(self._session.run(None, {self._input: batch}))
        except Exception as error:
            raise EngineError(f"ONNX Runtime failed on {batch.shape}: {error}.") from error
