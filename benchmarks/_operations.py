"""Where a network's time goes on OpenVINO: each operation's share, and the rate it computes at."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import shape_inference

from runtime.inference.engines.openvino_engine import shared_core

_WARM_UP, _RUNS = 3, 10
_SUFFIX = "/WithoutBiases"
"""What OpenVINO adds to the name of a convolution when it takes the bias out."""


def time_by_operation(model: Path) -> list[dict[str, Any]]:
    """Convolutions one by one, other operations by kind; longest first.

    Shares are of the operations' own time, as OpenVINO's counters give it (they slow the network
    down a little); rates in GFLOP/s, two operations a multiplication with its addition.
    """
    core = shared_core()
    compiled = core.compile_model(
        core.read_model(model), "CPU", {"PERFORMANCE_HINT": "LATENCY", "PERF_COUNT": True}
    )
    request = compiled.create_infer_request()
    picture = np.zeros((1, *compiled.input(0).partial_shape.get_min_shape()[1:]), np.uint8)
    seconds: dict[tuple[str, str], float] = defaultdict(float)
    for number in range(_WARM_UP + _RUNS):
        request.infer([picture])
        if number < _WARM_UP:
            continue
        for one in request.profiling_info:
            name = one.node_name.removesuffix(_SUFFIX) if one.node_type == "Convolution" else ""
            seconds[one.node_type, name] += one.real_time.total_seconds() / _RUNS
    flop, channels = _convolutions(model)
    whole = sum(seconds.values())
    return [
        {
            "operation": f"{kind} {name}, {channels[name]} channels in" if name in flop else kind,
            "ms": took * 1000,
            "share": took / whole,
            "gflop_per_second": flop[name] / took / 1e9 if name in flop else None,
        }
        for (kind, name), took in sorted(seconds.items(), key=lambda item: -item[1])
        if took
    ]


def _convolutions(model: Path) -> tuple[dict[str, float], dict[str, int]]:
    """Operations and input channels of each, by name."""
    graph = shape_inference.infer_shapes(onnx.load(model)).graph
    shapes = {
        value.name: [axis.dim_value for axis in value.type.tensor_type.shape.dim]
        for value in (*graph.value_info, *graph.output)
    }
    weights = {weight.name: list(weight.dims) for weight in graph.initializer}
    flop, channels = {}, {}
    for node in graph.node:
        if node.op_type == "Conv":
            _, *kernel = weights[node.input[1]]
            flop[node.name] = 2.0 * float(np.prod(shapes[node.output[0]][1:]) * np.prod(kernel))
            channels[node.name] = kernel[0]
    return flop, channels
