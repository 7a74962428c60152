"""How much of a machine's arithmetic a model uses: its operations against the largest product.

The limit is measured, not looked up: the best rate of a few square matrix products in the engine's
own precision, with the library that the engine's kernels come from.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

_SIZE: Final = 2048
_REPEATS: Final = 8


def peak_flop_per_second(engine: str, precision: str, *, size: int = _SIZE) -> float | None:
    """The best rate reached, or None where this precision has no product to measure here.

    An operation is one multiplication or one addition: a product of n x n matrices has 2 n^3.
    """
    on_gpu = engine == "torch" and _has_gpu()
    if on_gpu:
        size *= 4  # a GPU is not busy with a small product
    product = _product(engine, precision, size)
    if product is None:
        return None
    product()  # the first call allocates
    best = min(_timed(product) for _ in range(_REPEATS))
    return 2 * size**3 / best


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def _timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _product(engine: str, precision: str, size: int) -> Callable[[], object] | None:
    if engine == "openvino":
        return _openvino_product(precision, size)
    if engine == "torch":
        return _torch_product(precision, size)
    return _numpy_product(size) if precision == "fp32" else None


def _numpy_product(size: int) -> Callable[[], object]:
    import numpy as np

    left = np.random.default_rng(0).random((size, size), dtype=np.float32)
    right = left.T.copy()
    out = np.empty_like(left)
    return lambda: np.matmul(left, right, out=out)


def _openvino_product(precision: str, size: int) -> Callable[[], object]:
    import numpy as np
    import openvino
    from openvino import opset13 as ops

    weights = np.random.default_rng(0).random((size, size), dtype=np.float32)
    left = ops.parameter([size, size], dtype=np.float32)
    model = openvino.Model([ops.matmul(left, ops.constant(weights), False, False)], [left], "p")
    hint = "bf16" if precision == "bf16" else "f32"
    compiled: Any = openvino.Core().compile_model(
        model, "CPU", {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": hint}
    )
    request = compiled.create_infer_request()
    return lambda: request.infer([weights], share_inputs=True)


def _torch_product(precision: str, size: int) -> Callable[[], object] | None:
    import torch

    kinds = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
    if precision not in kinds:
        return None
    device = "cuda" if torch.cuda.is_available() else "cpu"
    left = torch.rand(size, size, device=device, dtype=kinds[precision])

    def product() -> None:
        torch.matmul(left, left)
        if device == "cuda":
            torch.cuda.synchronize()

    return product
