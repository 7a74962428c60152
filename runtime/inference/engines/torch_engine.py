"""torch: on a GPU in half precision, channels last, replayed as CUDA graphs; on a CPU as it comes.

A CUDA graph has a fixed batch, so batches are filled up to the next power of two; each size is
captured at its first use. An engine's own lock covers each of its runs, since a graph's buffers are
shared. Another one, for the whole process, covers captures alone, of which CUDA allows one at a
time: a new version of a model chooses its kernels and is captured while the old one serves. What
other threads do meanwhile cannot end a capture (`thread_local`), and no graph may be freed within
it, which is what the garbage collector might do.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from runtime.inference.artifact import Artifact
from runtime.inference.engines.onnx_torch import OnnxNetwork
from runtime.inference.engines.processor import computes_bfloat16, processor_name, usable_processors
from runtime.inference.errors import EngineError, EngineUnavailableError

_WARM_UP_RUNS = 3
_CAPTURE = threading.Lock()


class TorchEngine:
    """The artifact's ONNX network as torch operations."""

    name = "torch"

    def __init__(
        self,
        artifact: Artifact,
        *,
        threads: int | None = None,
        exact: bool = False,
        gpu_needed: bool = False,
    ) -> None:
        """Load it: on the GPU if torch can use one, on the CPU unless `gpu_needed`.

        Raises:
            EngineUnavailableError: a GPU is needed and torch cannot use one.
            EngineError: the network cannot be loaded, or does not fit.
        """
        self.on_gpu = torch.cuda.is_available()
        if gpu_needed and not self.on_gpu:
            raise EngineUnavailableError(
                f"This machine has an NVIDIA GPU that torch {torch.__version__} (built for CUDA "
                f"{torch.version.cuda or 'none'}) cannot use. Look at nvidia-smi and install the "
                "driver or the torch that fit, or choose an engine for the CPU, such as openvino."
            )
        try:
            network = OnnxNetwork(onnx.load(artifact.model_path)).eval()
        except EngineError:
            raise
        except Exception as error:  # protobuf and torch each raise their own
            raise EngineError(f"torch cannot load {artifact.manifest.name}: {error}.") from error
        if self.on_gpu:
            self.precision = "fp32" if exact else "fp16"
            self.device = torch.cuda.get_device_name()
            torch.backends.cudnn.benchmark = True  # shapes are few, each is used for long
            # What the graph computes in float32 (box coordinates of several hundred pixels) does
            # not fit TF32's ten bits of mantissa, which cuDNN's convolutions take by default.
            torch.backends.cuda.matmul.allow_tf32 = False
            torch.backends.cudnn.allow_tf32 = False
        else:
            torch.set_num_threads(threads or usable_processors())
            self.precision = "bf16" if computes_bfloat16() and not exact else "fp32"
            self.device = processor_name()
        dtype = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
        network.lower(dtype[self.precision])
        try:
            network = network.to("cuda" if self.on_gpu else "cpu")
            # The Python signature of `to` with a layout is one that its stubs leave out.
            network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        except RuntimeError as error:
            raise EngineError(
                f"{artifact.manifest.name} does not fit on {self.device}: {error}."
            ) from error
        self._network: OnnxNetwork = network
        self._graphs: dict[tuple[int, ...], _Captured] = {}
        self._running = threading.Lock()
        self._broken: str | None = None

    def run(self, batch: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        try:
            if self.on_gpu:
                with self._running:
                    return self._replay(batch)
            with torch.inference_mode():
                outputs = self._network(torch.from_numpy(np.ascontiguousarray(batch)))
            return [output.float().contiguous().numpy() for output in outputs]
        except EngineError:
            raise
        except Exception as error:  # torch raises RuntimeError and its own kinds
            raise EngineError(f"torch failed on {batch.shape}: {error}.") from error

    def _replay(self, batch: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        """Raises `EngineError` for ever after a capture has failed, which leaves the thread's
        stream and the engine's memory in a state that no later run may build on."""
        if self._broken is not None:
            raise EngineError(
                f"torch failed while it captured a graph and this engine is not used again: "
                f"{self._broken}. Load the model anew."
            )
        filled = 1 << (len(batch) - 1).bit_length()
        shape = (filled, *batch.shape[1:])
        if shape not in self._graphs:
            try:
                with _CAPTURE, _nothing_collected():
                    self._graphs[shape] = _capture(self._network, shape)
            except Exception as error:
                self._broken = str(error) or repr(error)
                raise
        return self._graphs[shape].run(batch)


@contextmanager
def _nothing_collected() -> Iterator[None]:
    """A graph or tensor that the garbage collector frees during a capture would end it."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@dataclass(frozen=True, slots=True)
class _Captured:
    """A graph with its buffers: page-locked ones on the host, fixed ones on the GPU."""

    graph: Any
    staged: torch.Tensor
    pictures: torch.Tensor
    outputs: list[torch.Tensor]
    fetched: list[torch.Tensor]

    def run(self, batch: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        """Outputs for as many pictures as the graph takes, or fewer."""
        count = len(batch)
        self.staged.numpy()[:count] = batch
        self.pictures.copy_(self.staged, non_blocking=True)
        self.graph.replay()
        for fetched, output in zip(self.fetched, self.outputs, strict=True):
            fetched.copy_(output, non_blocking=True)
        torch.cuda.current_stream().synchronize()
        return [fetched.numpy()[:count].copy() for fetched in self.fetched]


def _step(network: OnnxNetwork, pictures: torch.Tensor) -> list[torch.Tensor]:
    """What is captured, and what the runs before it have to be."""
    return [output.float().contiguous() for output in network(pictures)]


def _capture(network: OnnxNetwork, shape: tuple[int, ...]) -> _Captured:
    staged = torch.zeros(shape, dtype=torch.uint8, pin_memory=True)
    pictures = staged.cuda()
    with torch.inference_mode():
        # Libraries choose their kernels and allocate in the first runs, which must not be captured.
        side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(_WARM_UP_RUNS):
                _step(network, pictures)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=side, capture_error_mode="thread_local"):
            outputs = _step(network, pictures)
    fetched = [torch.empty(output.shape, pin_memory=True) for output in outputs]
    return _Captured(graph, staged, pictures, outputs, fetched)
