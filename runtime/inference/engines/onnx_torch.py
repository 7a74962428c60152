"""An ONNX network as torch calls, so that GPUs run the very artifact that CPUs run.

Covers the operators that this project's networks and Ultralytics' detectors are made of. Weights
become parameters of one module, which torch then moves, casts and lays out as a whole. onnx2torch
(1.5.15) has more operators and imports torchvision, which a machine with torch need not have.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper
from torch.nn import functional

from runtime.inference.errors import EngineError

Tensor = torch.Tensor
Attributes = dict[str, Any]
Operation = Callable[[list[Any], Attributes], Any]


class OnnxNetwork(torch.nn.Module):
    """The graph's nodes in order. Call it with pictures uint8 (batch, height, width, 3)."""

    def __init__(self, model: onnx.ModelProto) -> None:
        super().__init__()
        _widen(model)
        graph = model.graph
        self._outputs = [value.name for value in graph.output]
        (self._input,) = (value.name for value in graph.input)
        self._shapes: dict[str, list[int]] = {}
        """Whole numbers that steer an operator: they stay in Python, whatever the device."""
        self._weights: dict[str, str] = {}
        for number, tensor in enumerate(graph.initializer):
            values = numpy_helper.to_array(tensor)
            if values.dtype.kind == "i" or _is_setting(graph, tensor.name):
                self._shapes[tensor.name] = values.reshape(-1).tolist()
            else:
                self._weights[tensor.name] = f"weight{number}"
                weight = torch.from_numpy(np.array(values, np.float32))
                self.register_parameter(
                    f"weight{number}", torch.nn.Parameter(weight, requires_grad=False)
                )
        self._multiplied = _multiplied(graph)
        self._steps = [_step(node) for node in graph.node]
        self._last_use = _last_uses(graph)

    def lower(self, precision: torch.dtype) -> None:
        """Let convolutions and matrix products compute in `precision`, all else in float32.

        Box coordinates of several hundred pixels do not fit the eight bits of a bfloat16.
        """
        for name in self._multiplied:
            weight = getattr(self, self._weights[name])
            weight.data = weight.data.to(precision)

    def forward(self, pictures: Tensor) -> list[Tensor]:
        """The graph's outputs."""
        values: dict[str, Any] = {"": None, self._input: pictures, **self._shapes}
        values |= {name: getattr(self, field) for name, field in self._weights.items()}
        for number, (operation, inputs, outputs, attributes) in enumerate(self._steps):
            arguments = [values[name] for name in inputs]
            result = operation(arguments, attributes)
            results = result if isinstance(result, (tuple, list)) else (result,)
            values.update(zip(outputs, results, strict=False))
            for name in self._last_use.get(number, ()):
                del values[name]
        return [values[name] for name in self._outputs]


def _widen(model: onnx.ModelProto) -> None:
    """Turn weights that are stored in fewer bits into floats, in place."""
    graph = model.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    rest = []
    for node in graph.node:
        sources = [constants.get(name) for name in node.input]
        if node.op_type not in ("Cast", "DequantizeLinear") or None in sources:
            rest.append(node)
            continue
        values, *scale = (numpy_helper.to_array(tensor) for tensor in sources)
        wide = values.astype(np.float32)
        if scale:
            wide *= scale[0].reshape(-1, *[1] * (wide.ndim - 1))
        graph.initializer.append(numpy_helper.from_array(wide, node.output[0]))
        for tensor in sources:
            graph.initializer.remove(tensor)
    del graph.node[:]
    graph.node.extend(rest)


def _multiplied(graph: onnx.GraphProto) -> set[str]:
    """Weights and biases of the convolutions and matrix products, but for those of one channel.

    The one-channel convolution of Ultralytics' heads is a weighted mean that yields coordinates.
    """
    constants = {tensor.name: tensor for tensor in graph.initializer}
    return {
        name
        for node in graph.node
        if node.op_type in ("Conv", "Gemm") and constants[node.input[1]].dims[0] > 1
        for name in node.input[1:]
    }


def _step(node: onnx.NodeProto) -> tuple[Operation, list[str], list[str], Attributes]:
    if node.op_type not in _OPERATIONS:
        raise EngineError(
            f"The network has an operator {node.op_type} that torch is not told of. Choose the "
            "engine onnxruntime or openvino, on a machine without a GPU."
        )
    attributes = {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}
    for name, meant in _ONLY.get(node.op_type, {}).items():
        given = attributes.get(name, meant)
        if given != meant:
            raise EngineError(
                f"{node.op_type} {node.name} of the network has {name}={given!r}; torch is told of "
                f"{meant!r} alone. Export the network without it, or choose another engine."
            )
    attributes["outputs"] = len(node.output)
    return _OPERATIONS[node.op_type], list(node.input), list(node.output), attributes


def _last_uses(graph: onnx.GraphProto) -> dict[int, list[str]]:
    """After which step a value is no longer needed: memory is freed as the graph goes."""
    last: dict[str, int] = {}
    for number, node in enumerate(graph.node):
        last |= dict.fromkeys((name for name in node.input if name), number)
    kept = {value.name for value in graph.output} | {tensor.name for tensor in graph.initializer}
    uses: dict[int, list[str]] = {}
    for name, number in last.items():
        if name not in kept:
            uses.setdefault(number, []).append(name)
    return uses


def _is_setting(graph: onnx.GraphProto, name: str) -> bool:
    """Scales of a resize and bounds of a clip are numbers for torch, not tensors."""
    return any(
        name in list(node.input)[1:] for node in graph.node if node.op_type in ("Resize", "Clip")
    )


def _convolution(inputs: list[Any], attributes: Attributes) -> Tensor:
    values, weight, *bias = inputs
    values = values.to(weight.dtype)
    stride, groups = attributes.get("strides", [1, 1]), attributes.get("group", 1)
    before, after = _pads(attributes)
    dilation = attributes.get("dilations", [1, 1])
    padding = before
    if before != after:
        values, padding = functional.pad(values, _padding(before, after)), [0, 0]
    return functional.conv2d(
        values, weight, bias[0] if bias else None, stride, padding, dilation, groups
    )


def _max_pool(inputs: list[Any], attributes: Attributes) -> Tensor:
    values = inputs[0]
    before, after = _pads(attributes)
    if any(before) or any(after):
        values = functional.pad(values, _padding(before, after), value=float("-inf"))
    return functional.max_pool2d(
        values,
        attributes["kernel_shape"],
        attributes.get("strides", [1, 1]),
        ceil_mode=bool(attributes.get("ceil_mode", 0)),
    )


def _resize(inputs: list[Any], attributes: Attributes) -> Tensor:
    if attributes.get("mode") != b"nearest":
        raise EngineError("The network resizes by another rule than nearest.")
    return functional.interpolate(inputs[0], scale_factor=inputs[2][2:], mode="nearest")


def _reshape(inputs: list[Any], attributes: Attributes) -> Any:
    values, shape = inputs
    sizes = [values.shape[axis] if size == 0 else size for axis, size in enumerate(shape)]
    return values.reshape(sizes)


def _pad(inputs: list[Any], attributes: Attributes) -> Tensor:
    values, pads = inputs[:2]
    before, after = pads[: len(pads) // 2], pads[len(pads) // 2 :]
    return functional.pad(values, _padding(before, after))


def _slice(inputs: list[Any], attributes: Attributes) -> Any:
    values, starts, ends, *rest = inputs
    axes = rest[0] if rest and rest[0] is not None else list(range(len(starts)))
    steps = rest[1] if len(rest) > 1 else [1] * len(starts)
    index = [slice(None)] * values.dim()
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        index[axis] = slice(start, end, step)
    return values[tuple(index)]


def _split(inputs: list[Any], attributes: Attributes) -> tuple[Tensor, ...]:
    values, *sizes = inputs
    axis = attributes.get("axis", 0)
    if sizes:
        return tuple(torch.split(values, sizes[0], dim=axis))
    return tuple(torch.chunk(values, attributes["outputs"], dim=axis))


def _gemm(inputs: list[Any], attributes: Attributes) -> Tensor:
    values, weight, *bias = inputs
    values = values.to(weight.dtype)
    weight = weight if attributes.get("transB") else weight.T
    return functional.linear(values, weight, bias[0] if bias else None)


def _top_k(inputs: list[Any], attributes: Attributes) -> tuple[Tensor, Tensor]:
    values, (count,) = inputs
    largest = bool(attributes.get("largest", 1))
    top = values.topk(count, dim=attributes.get("axis", -1), largest=largest)
    return top.values, top.indices


def _unsqueeze(inputs: list[Any], _: Attributes) -> Any:
    values, axes = inputs
    for axis in sorted(axes):
        values = values.unsqueeze(axis)
    return values


def _expand(inputs: list[Any], _: Attributes) -> Any:
    """ONNX keeps a size where the wanted one is 1."""
    values, shape = inputs
    sizes = [have if want == 1 else want for have, want in zip(values.shape, shape, strict=True)]
    return values.expand(sizes)


def _divide(inputs: list[Any], _: Attributes) -> Any:
    """Whole numbers stay whole."""
    values, divisor = inputs
    if isinstance(divisor, list):
        (divisor,) = divisor
        return torch.div(values, divisor, rounding_mode="trunc")
    return values / divisor


def _over_axes(inputs: list[Any], attributes: Attributes) -> dict[str, Any]:
    """What a reduction runs over, by torch's names."""
    axes = attributes.get("axes") or inputs[1]
    return {"dim": list(axes), "keepdim": bool(attributes.get("keepdims", 1))}


def _clip(inputs: list[Any], attributes: Attributes) -> Tensor:
    low, high = [*inputs[1:], None, None][:2]
    return torch.clamp(inputs[0], low[0] if low else None, high[0] if high else None)


def _pads(attributes: Attributes) -> tuple[list[int], list[int]]:
    pads = list(attributes.get("pads", [0, 0, 0, 0]))
    return pads[: len(pads) // 2], pads[len(pads) // 2 :]


def _padding(before: list[int], after: list[int]) -> list[int]:
    """ONNX counts padding from the first axis, torch from the last."""
    return [size for pair in reversed(list(zip(before, after, strict=True))) for size in pair]


_ONLY: Final[dict[str, dict[str, Any]]] = {
    "Conv": {"auto_pad": b"NOTSET"},
    "Gemm": {"alpha": 1.0, "beta": 1.0, "transA": 0},
    "MaxPool": {"auto_pad": b"NOTSET", "dilations": [1, 1], "storage_order": 0},
    "Reshape": {"allowzero": 0},
}
"""Attributes that the operations below do not read: the one value, the default, that is right."""

_OPERATIONS: Final[dict[str, Operation]] = {
    "Add": lambda inputs, _: inputs[0] + inputs[1],
    # Casts are of the picture and of class numbers, both to float; a convolution takes the picture
    # on to its own precision.
    "Cast": lambda inputs, _: inputs[0].float(),
    "Clip": _clip,
    "Concat": lambda inputs, attributes: torch.cat(inputs, dim=attributes["axis"]),
    "Conv": _convolution,
    "Div": _divide,
    "Expand": _expand,
    "Flatten": lambda inputs, attributes: inputs[0].flatten(attributes.get("axis", 1)),
    "GatherElements": lambda inputs, attributes: inputs[0].gather(
        attributes.get("axis", 0), inputs[1]
    ),
    "Gemm": _gemm,
    "GlobalAveragePool": lambda inputs, _: inputs[0].mean((2, 3), keepdim=True),
    "LeakyRelu": lambda inputs, attributes: functional.leaky_relu(inputs[0], attributes["alpha"]),
    "MatMul": lambda inputs, _: inputs[0].to(inputs[1].dtype) @ inputs[1],
    "MaxPool": _max_pool,
    "Mod": lambda inputs, _: torch.remainder(inputs[0], inputs[1][0]),
    "Mul": lambda inputs, _: inputs[0] * inputs[1],
    "Pad": _pad,
    "ReduceMax": lambda inputs, attributes: inputs[0].amax(**_over_axes(inputs, attributes)),
    "ReduceMean": lambda inputs, attributes: inputs[0].mean(**_over_axes(inputs, attributes)),
    "Relu": lambda inputs, _: functional.relu(inputs[0]),
    "Reshape": _reshape,
    "Resize": _resize,
    "Sigmoid": lambda inputs, _: inputs[0].sigmoid(),
    "Slice": _slice,
    "Softmax": lambda inputs, attributes: inputs[0].float().softmax(attributes.get("axis", -1)),
    "Split": _split,
    "Sub": lambda inputs, _: inputs[0] - inputs[1],
    "TopK": _top_k,
    "Transpose": lambda inputs, attributes: inputs[0].permute(attributes["perm"]),
    "Unsqueeze": _unsqueeze,
}
