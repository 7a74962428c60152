"""Weights of ONNX graphs: stored more narrowly, and kept in one file beside the graphs.

A graph that names its weights in another file is loaded by mapping that file into memory, which
takes milliseconds and no second copy. Several graphs of one network share the file.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, external_data_helper, helper, numpy_helper

from runtime.contract import Precision

WEIGHTS_FILE: Final = "model.weights"
_PAGE: Final = 4096
_SMALLEST: Final = 1024
"""Numbers in the smallest tensor that is narrowed or moved out of a graph."""
_MULTIPLYING: Final = ("Conv", "FusedConv", "Gemm")


def narrow(model: onnx.ModelProto, precision: Precision) -> onnx.ModelProto:
    """The weights of convolutions and matrix products in half precision or in eight bits.

    They are widened again when the network is loaded: this saves transfer and storage, and the
    computing stays what it was. Eight bits are symmetric, with one scale an output channel.
    """
    narrowed = onnx.ModelProto()
    narrowed.CopyFrom(model)
    if precision == "fp32":
        return narrowed
    graph = narrowed.graph
    wanted = {
        node.input[1] for node in graph.node if node.op_type in _MULTIPLYING and _transposed(node)
    }
    widening: list[onnx.NodeProto] = []
    kept: list[onnx.TensorProto] = []
    for tensor in graph.initializer:
        values = numpy_helper.to_array(tensor)
        if tensor.name not in wanted or values.size < _SMALLEST:
            kept.append(tensor)
        elif precision == "fp16":
            stored = f"{tensor.name}.fp16"
            kept.append(numpy_helper.from_array(values.astype(np.float16), stored))
            widening.append(
                helper.make_node("Cast", [stored], [tensor.name], name=stored, to=TensorProto.FLOAT)
            )
        else:
            numbers, scale = _eight_bits(values)
            stored, scales = f"{tensor.name}.int8", f"{tensor.name}.scale"
            kept.append(numpy_helper.from_array(numbers, stored))
            kept.append(numpy_helper.from_array(scale, scales))
            widening.append(
                helper.make_node(
                    "DequantizeLinear", [stored, scales], [tensor.name], name=stored, axis=0
                )
            )
    nodes = [*widening, *graph.node]
    del graph.initializer[:]
    del graph.node[:]
    graph.initializer.extend(kept)
    graph.node.extend(nodes)
    return narrowed


def save_graphs(graphs: dict[str, onnx.ModelProto], folder: Path) -> None:
    """Write graphs by file name, their large constants once each into `WEIGHTS_FILE`."""
    places: dict[bytes, tuple[int, int]] = {}
    with (folder / WEIGHTS_FILE).open("wb") as file:
        for name, model in graphs.items():
            light = onnx.ModelProto()
            light.CopyFrom(model)
            for tensor in light.graph.initializer:
                values = numpy_helper.to_array(tensor)
                if values.size < _SMALLEST:
                    continue
                data = values.tobytes()
                digest = hashlib.sha256(data).digest()
                if digest not in places:
                    file.write(bytes(-file.tell() % _PAGE))  # mapping wants whole pages
                    places[digest] = (file.tell(), len(data))
                    file.write(data)
                offset, length = places[digest]
                tensor.raw_data = data
                external_data_helper.set_external_data(tensor, WEIGHTS_FILE, offset, length)
                tensor.ClearField("raw_data")
            (folder / name).write_bytes(light.SerializeToString())
    if not places:
        (folder / WEIGHTS_FILE).unlink()


def _transposed(node: onnx.NodeProto) -> bool:
    """Whether the weights have their output channels first, as a convolution's always do."""
    if node.op_type != "Gemm":
        return True
    return any(entry.name == "transB" and entry.i == 1 for entry in node.attribute)


def _eight_bits(values: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    largest = np.abs(values).reshape(len(values), -1).max(axis=1)
    scale = np.maximum(largest / 127, np.finfo(np.float32).tiny).astype(np.float32)
    numbers = np.rint(values / scale.reshape(-1, *[1] * (values.ndim - 1)))
    return np.clip(numbers, -127, 127).astype(np.int8), scale
