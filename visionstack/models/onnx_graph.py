"""What is done to any ONNX graph after it is made: simplified, and its work counted."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path

import onnx
import onnxruntime
from onnx import numpy_helper, shape_inference


def simplify(model: onnx.ModelProto) -> onnx.ModelProto:
    """Constants folded and nodes fused into standard operators."""
    return _optimized(model, onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC)


def ready_for_onnxruntime(model: onnx.ModelProto) -> onnx.ModelProto:
    """Fused into ONNX Runtime's own operators, so that loading has nothing left to optimise.

    Its last level is left out: that one lays weights out for the processor it runs on.
    """
    return _optimized(model, onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED)


def _optimized(
    model: onnx.ModelProto, level: onnxruntime.GraphOptimizationLevel
) -> onnx.ModelProto:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = level
    options.log_severity_level = 3
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        options.optimized_model_filepath = str(path)
        onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        simplified = onnx.load(path)
    used = {node.domain for node in simplified.graph.node}
    kept = [entry for entry in simplified.opset_import if entry.domain in used]
    del simplified.opset_import[:]
    simplified.opset_import.extend(kept)
    return simplified


def free_batch(model: onnx.ModelProto) -> onnx.ModelProto:
    """A graph for one picture as a graph for any number of them.

    Every reshape to (1, …) keeps its first axis instead; nothing else in a network of
    convolutions depends on how many pictures there are.
    """
    graph = model.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Reshape" and node.input[1] in constants:
            shape = numpy_helper.to_array(constants[node.input[1]]).copy()
            if len(shape) > 1 and shape[0] == 1:
                shape[0] = 0  # ONNX: as in the input
                freed = numpy_helper.from_array(shape, f"{node.name}.shape")
                graph.initializer.append(freed)
                node.input[1] = freed.name
    read = {name for node in graph.node for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in read]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    del graph.value_info[:]
    for value in (*graph.input, *graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    onnx.checker.check_model(model)
    return model


def flop(model: onnx.ModelProto) -> int:
    """Floating-point operations of one picture's convolutions and matrix products.

    Two for each multiply-add, as the darknet and YOLO papers count them; all else is left out.
    """
    inferred = shape_inference.infer_shapes(model)
    graph = inferred.graph
    shapes = {
        value.name: [dimension.dim_value for dimension in value.type.tensor_type.shape.dim]
        for value in (*graph.value_info, *graph.output, *graph.input)
    }
    constants = {tensor.name: tensor for tensor in graph.initializer}
    total = 0
    for node in graph.node:
        if len(node.input) < 2 or node.input[1] not in constants:
            continue
        weights = list(constants[node.input[1]].dims)
        if node.op_type == "Conv":
            # Every output value sums over the channels of its group and the kernel's extent.
            total += math.prod(shapes[node.output[0]][1:]) * math.prod(weights[1:])
        elif node.op_type in ("Gemm", "MatMul"):
            total += math.prod(weights)
    return 2 * total
