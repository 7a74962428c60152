"""OpenVINO on the CPU, in bfloat16 where the processor computes in it."""

from __future__ import annotations

import queue
from typing import Any

import numpy as np
import openvino
from numpy.typing import NDArray

from runtime.inference.artifact import Artifact
from runtime.inference.engines.processor import usable_processors
from runtime.inference.errors import EngineError


class OpenVinoEngine:
    """One compiled network and a pool of infer requests, so that calls may overlap."""

    name = "openvino"
    on_gpu = False

    def __init__(
        self,
        artifact: Artifact,
        *,
        threads: int | None = None,
        exact: bool = False,
        streams: int = 1,
    ) -> None:
        core = openvino.Core()
        bfloat = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES") and not exact
        settings: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": "bf16" if bfloat else "f32",
            "INFERENCE_NUM_THREADS": threads or usable_processors(),
        }
        # With streams, calls side by side share the weights and have processors of their own.
        settings |= {"NUM_STREAMS": streams} if streams > 1 else {"PERFORMANCE_HINT": "LATENCY"}
        try:
            model = core.read_model(artifact.model_path)
            self._compiled = core.compile_model(model, "CPU", settings)
        except Exception as error:  # OpenVINO raises RuntimeError and its own kinds
            raise EngineError(f"OpenVINO cannot load {artifact.manifest.name}: {error}.") from error
        self.precision = "bf16" if bfloat else "fp32"
        self.device = str(core.get_property("CPU", "FULL_DEVICE_NAME")).strip()
        self._outputs = len(self._compiled.outputs)
        self._idle: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def run(self, batch: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        try:
            request = self._idle.get_nowait()
        except queue.Empty:
            request = self._compiled.create_infer_request()
        try:
            request.infer([batch], share_inputs=True)
            # The request's own memory is overwritten by its next run: hand out copies.
            return [
                np.array(request.get_output_tensor(index).data, np.float32)
                for index in range(self._outputs)
            ]
        except Exception as error:
            raise EngineError(f"OpenVINO failed on {batch.shape}: {error}.") from error
        finally:
            self._idle.put(request)
