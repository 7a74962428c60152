"""How much of a machine's arithmetic a model uses: its operations against the largest product.

The limit is measured, not looked up: the best rate of a few square matrix products in the engine's
own precision, by whichever of the libraries installed here is fastest at it. It is the machine's
limit, not the engine's: one library's product may well be slower than another's network.
"""

from __future__ import annotations

import timeit
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

_SIZE: Final = 2048
_REPEATS: Final = 8
_Maker = Callable[[str, int], Callable[[], object]]


def peak_flop_per_second(engine: str, precision: str, *, size: int = _SIZE) -> float | None:
    """The best rate reached, or None where this precision has no product to measure here.

    An operation is one multiplication or one addition: a product of n x n matrices has 2 n^3.
    """
    on_gpu = engine == "torch" and _has_gpu()
    if on_gpu:
        size *= 4  # a GPU is not busy with a small product
    makers = (_ON_GPU if on_gpu else _ON_CPU).get(precision, ())
    rates = [_rate(maker, precision, size) for maker in makers]
    return max((rate for rate in rates if rate is not None), default=None)


def _rate(maker: _Maker, precision: str, size: int) -> float | None:
    try:
        product = maker(precision, size)
    except ImportError:  # an instance has only the libraries that serve on it
        return None
    product()  # the first call allocates
    return 2 * size**3 / min(timeit.repeat(product, number=1, repeat=_REPEATS))


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def _numpy_product(precision: str, size: int) -> Callable[[], object]:
    import numpy as np

    left = np.random.default_rng(0).random((size, size), dtype=np.float32)
    right = left.T.copy()
    out = np.empty_like(left)
    return lambda: np.matmul(left, right, out=out)


def _onnxruntime_product(precision: str, size: int) -> Callable[[], object]:
    import numpy as np
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    matrix = np.random.default_rng(0).random((size, size), dtype=np.float32)
    shapes = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [size, size]) for name in "ab"]
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["a", "weights"], ["b"])],
        "product",
        shapes[:1],
        shapes[1:],
        [numpy_helper.from_array(matrix, "weights")],
    )
    # The oldest versions with these operators: the runtime reads them whatever onnx is newest.
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=9)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return lambda: session.run(None, {"a": matrix})


def _openvino_product(precision: str, size: int) -> Callable[[], object]:
    import numpy as np
    import openvino
    from openvino import opset13 as ops

    from runtime.inference.engines.openvino_engine import shared_core

    weights = np.random.default_rng(0).random((size, size), dtype=np.float32)
    left = ops.parameter([size, size], dtype=np.float32)
    model = openvino.Model([ops.matmul(left, ops.constant(weights), False, False)], [left], "p")
    hint = "bf16" if precision == "bf16" else "f32"
    compiled: Any = shared_core().compile_model(
        model, "CPU", {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": hint}
    )
    request = compiled.create_infer_request()
    return lambda: request.infer([weights], share_inputs=True)


def _torch_product(precision: str, size: int, *, device: str = "cpu") -> Callable[[], object]:
    import torch

    kinds = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
    left = torch.rand(size, size, device=device, dtype=kinds[precision])

    def product() -> None:
        torch.matmul(left, left)
        if device == "cuda":
            torch.cuda.synchronize()

    return product


_ON_CPU: Final[Mapping[str, Sequence[_Maker]]] = {
    "fp32": (_numpy_product, _openvino_product, _onnxruntime_product, _torch_product),
    "bf16": (_openvino_product, _torch_product),
}
"""By precision. Most CPUs emulate fp16: seconds for no limit of anything."""
_ON_GPU: Final[Mapping[str, Sequence[_Maker]]] = dict.fromkeys(
    ("fp32", "fp16", "bf16"), (partial(_torch_product, device="cuda"),)
)
