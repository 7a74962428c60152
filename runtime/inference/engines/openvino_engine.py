"""OpenVINO on the CPU, in bfloat16 where the processor computes in it, or in int8."""

from __future__ import annotations

import functools
import queue
from typing import Any

import numpy as np
import openvino
from numpy.typing import NDArray

from runtime.inference.artifact import Artifact
from runtime.inference.engines.precisions import fastest_measured
from runtime.inference.engines.processor import instructions, usable_processors
from runtime.inference.errors import EngineError


@functools.cache
def shared_core() -> Any:
    """The process's one core.

    The CPU plugin of each core gives its thread a stack for signal handlers (for AMX; OpenVINO
    pull request 11894) and frees it with the core. Of two cores that end in the order of their
    creation, the second puts the first one's freed stack back: the next signal, such as the
    SIGTERM that drains the server, then ends the process.
    """
    return openvino.Core()  # noqa: TID251 - the one place


class OpenVinoEngine:
    """One compiled network and a pool of infer requests, so that calls may overlap."""

    name = "openvino"
    on_gpu = False

    def __init__(
        self,
        artifact: Artifact,
        *,
        threads: int | None = None,
        precision: str = "auto",
        streams: int = 1,
    ) -> None:
        core = shared_core()
        if precision == "auto":
            precision = (
                fastest_measured(artifact.manifest, engine=self.name, instructions=instructions())
                or precision
            )
        path = artifact.int8_path if precision == "int8" else artifact.model_path
        bfloat = precision in {"auto", "bf16"} and "BF16" in core.get_property(
            "CPU", "OPTIMIZATION_CAPABILITIES"
        )
        settings: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": "bf16" if bfloat else "f32",
            "INFERENCE_NUM_THREADS": threads or usable_processors(),
        }
        # With streams, calls side by side share the weights and have processors of their own.
        settings |= {"NUM_STREAMS": streams} if streams > 1 else {"PERFORMANCE_HINT": "LATENCY"}
        try:
            model = core.read_model(path)
            self._compiled = core.compile_model(model, "CPU", settings)
        except Exception as error:  # OpenVINO raises RuntimeError and its own kinds
            raise EngineError(f"OpenVINO cannot load {artifact.manifest.name}: {error}.") from error
        self.precision = "int8" if precision == "int8" else "bf16" if bfloat else "fp32"
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
