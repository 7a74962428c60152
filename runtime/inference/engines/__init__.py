"""Engines that run a model artifact, behind one Protocol; imported only when chosen."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Final, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from runtime.contract import EngineName, PrecisionChoice
from runtime.inference.artifact import Artifact
from runtime.inference.engines.processor import usable_processors
from runtime.inference.errors import EngineUnavailableError

AUTO: Final = "auto"
ENGINES: Final[tuple[EngineName, ...]] = get_args(EngineName)
PRECISIONS: Final[tuple[PrecisionChoice, ...]] = get_args(PrecisionChoice)


class Engine(Protocol):
    """A loaded network. `run` may be called from several threads at once."""

    @property
    def name(self) -> str:
        """`onnxruntime`, `openvino` or `torch`."""
        ...

    @property
    def precision(self) -> str:
        """What it computes in: `fp32`, `bf16`, `fp16` or `int8`."""
        ...

    @property
    def device(self) -> str:
        """The processor's own name."""
        ...

    @property
    def on_gpu(self) -> bool:
        """Whether it runs on a GPU, which gains from batches."""
        ...

    def run(self, batch: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        """Outputs (batch, …) float32 for pictures (batch, height, width, 3) in the input's colours.

        The arrays returned belong to the caller. Raises `EngineError`.
        """
        ...


def choose_engine(name: str = AUTO) -> str:
    """The engine that `name` stands for here; `auto` is the fastest that this machine has.

    A GPU is looked for by its device node, since importing torch to ask takes seconds.
    Raises `EngineUnavailableError`.
    """
    if name != AUTO:
        if name not in ENGINES:
            raise EngineUnavailableError(
                f"There is no engine {name!r}; there are auto, {', '.join(ENGINES)}."
            )
        if not _installed(name):
            raise EngineUnavailableError(f"The engine {name} is not installed here.")
        return name
    if _has_gpu() and _installed("torch"):
        return "torch"
    for candidate in ("openvino", "onnxruntime", "torch"):
        if _installed(candidate):
            return candidate
    raise EngineUnavailableError(f"No engine is installed: one of {', '.join(ENGINES)} is needed.")


def create_engine(
    name: str,
    artifact: Artifact,
    *,
    threads: int | None = None,
    precision: str = AUTO,
    optimised: bool = True,
    streams: int = 1,
) -> Engine:
    """Load `artifact` into the engine `name` (or `auto`).

    `threads` for one batch; None takes all processors this process may use. On a CPU, `streams`
    divides them among so many calls side by side: each takes longer, all together less, since one
    call never keeps several processors fully busy. `precision` is `auto`
    (the fastest the engine has for these weights on this processor), `fp32`, or `int8`: of an
    artifact that holds it, which `auto` takes by the figures recorded with it; torch has none. With
    `optimised` false, ONNX Runtime starts in milliseconds from a ready-made graph, and calls then
    take from a quarter longer (ResNet50) to three times as long (EfficientNet-Lite0).
    Raises `EngineUnavailableError`, also when `auto` finds a GPU that torch cannot use (a machine
    paid for its GPU would serve on its CPU and say nothing), and `EngineError`.
    """
    if precision not in PRECISIONS:
        raise EngineUnavailableError(f"A precision is {', '.join(PRECISIONS)}, not {precision!r}.")
    exact = precision == "fp32"
    chosen = choose_engine(name)
    if precision == "int8" and (chosen == "torch" or artifact.int8_path is None):
        raise EngineUnavailableError(
            "torch computes no int8; openvino and onnxruntime do."
            if chosen == "torch"
            else f"{artifact.manifest.name} holds no int8: make it by "
            f"visionstack models quantize {artifact.manifest.name}"
        )
    if chosen == "onnxruntime":
        from runtime.inference.engines.onnxruntime_engine import OnnxRuntimeEngine

        each = max(1, (threads or usable_processors()) // streams)
        return OnnxRuntimeEngine(artifact, threads=each, optimised=optimised, precision=precision)
    if chosen == "openvino":
        from runtime.inference.engines.openvino_engine import OpenVinoEngine

        return OpenVinoEngine(artifact, threads=threads, precision=precision, streams=streams)
    from runtime.inference.engines.torch_engine import TorchEngine

    return TorchEngine(
        artifact, threads=threads, exact=exact, gpu_needed=name == AUTO and _has_gpu()
    )


def _has_gpu() -> bool:
    return Path("/dev/nvidia0").exists()


def _installed(name: str) -> bool:
    return importlib.util.find_spec(name) is not None
