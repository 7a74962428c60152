"""Darknet networks to ONNX: a parser for `.cfg`, a reader for `.weights`, and the graph.

Batch normalisation is folded into the convolutions, the input is a picture (uint8, blue first)
whose scaling by 1/255 and colour order are folded into the first one, and the outputs are the heads
as logits. The layers are those of YOLOv3, -tiny and -spp.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from visionstack.models.errors import ModelError, WeightsError

OPSET: Final = 17
_LEAKY_SLOPE: Final = 0.1
_VARIANCE_FLOOR: Final = 1e-6
"""Darknet adds this to the square root of the variance (`normalize_cpu` in its src/blas.c)."""

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Section:
    """A `[name]` of a cfg file and its options as text."""

    name: str
    options: dict[str, str]

    def integer(self, option: str, default: int | None = None) -> int:
        """An option's whole number. Raises `ModelError` if it is missing or is none."""
        text = self.options.get(option)
        if text is None:
            if default is None:
                raise ModelError(f"[{self.name}] of the network's cfg lacks {option}.")
            return default
        try:
            return int(text)
        except ValueError as error:
            raise ModelError(f"[{self.name}] {option}={text} of the cfg is no number.") from error

    def integers(self, option: str) -> list[int]:
        """An option's whole numbers, separated by commas. Raises `ModelError` if one is none."""
        text = self.options.get(option, "")
        try:
            return [int(part) for part in text.split(",") if part.strip()]
        except ValueError as error:
            raise ModelError(f"[{self.name}] {option}={text} of the cfg is no list.") from error


def parse_cfg(text: str) -> list[Section]:
    """The sections of a darknet cfg, `[net]` first."""
    sections: list[Section] = []
    for number, line in enumerate(text.splitlines(), start=1):
        content = line.split("#")[0].strip()
        if not content:
            continue
        if content.startswith("["):
            sections.append(Section(content.strip("[]"), {}))
            continue
        option, equals, value = content.partition("=")
        if not equals or not sections:
            raise ModelError(f"Line {number} of the cfg makes no sense: {line!r}.")
        sections[-1].options[option.strip()] = value.strip()
    if not sections or sections[0].name not in ("net", "network"):
        raise ModelError("The cfg does not begin with [net].")
    return sections


class WeightsReader:
    """Hands out a weights file's floats in order and proves at the end that none is left."""

    def __init__(self, values: Floats, *, name: str) -> None:
        self._values = values
        self._name = name
        self._taken = 0

    @classmethod
    def open(cls, path: Path) -> WeightsReader:
        """Read a `.weights` file: major, minor, revision (int32), pictures seen, then floats."""
        try:
            data = path.read_bytes()
        except OSError as error:
            raise WeightsError(f"{path} cannot be read: {error.strerror}.") from error
        if len(data) < 16:
            raise WeightsError(f"{path} has {len(data)} bytes: it is no darknet weights file.")
        major, minor, _ = np.frombuffer(data, "<i4", 3)
        # The count of pictures grew from 32 to 64 bits in version 0.2 (darknet's src/parser.c).
        header = 20 if major * 10 + minor >= 2 else 16
        if (len(data) - header) % 4:
            raise WeightsError(f"{path} is cut off: {len(data):,} bytes are no whole floats.")
        return cls(np.frombuffer(data, "<f4", offset=header).astype(np.float32), name=path.name)

    def take(self, count: int) -> Floats:
        """The next `count` floats. Raises `WeightsError` when there are fewer."""
        taken = self._values[self._taken : self._taken + count]
        if len(taken) < count:
            raise WeightsError(
                f"{self._name} holds {len(self._values):,} floats, too few for this network.",
                remedy="Give the weights that belong to it.",
            )
        self._taken += count
        return taken

    def finish(self) -> None:
        """Raises `WeightsError` unless every float was taken."""
        if self._taken != len(self._values):
            raise WeightsError(
                f"{self._name} holds {len(self._values):,} floats, this network takes "
                f"{self._taken:,}: it belongs to another network.",
                remedy="Give the weights that belong to it.",
            )


class RandomWeights:
    """Stands in for weights that cannot be had: right for timing, finds nothing."""

    def __init__(self) -> None:
        self._random = np.random.default_rng(0)

    def convolution(self, shape: tuple[int, ...], *, normalized: bool) -> tuple[Floats, Floats]:
        """Weights and biases, small enough to stay finite in half precision over 100 layers."""
        fan_in = int(np.prod(shape[1:]))
        scale = 0.5 if normalized else 0.1
        weights = self._random.standard_normal(shape, np.float32) * np.float32(
            scale * np.sqrt(2 / fan_in)
        )
        # A head's objectness near zero leaves suppression nothing to do, as most real pictures do.
        return weights, np.full(shape[0], 0 if normalized else -6, np.float32)


@dataclass(slots=True)
class _Layer:
    output: str
    channels: int
    width: int
    height: int


@dataclass(slots=True)
class _Graph:
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)

    def add(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def constant(self, name: str, values: NDArray[Any]) -> str:
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name


@dataclass(frozen=True, slots=True)
class DarknetNetwork:
    """An ONNX network with the anchors (width, height in input pixels) of each of its outputs."""

    model: onnx.ModelProto
    anchors: tuple[tuple[tuple[float, float], ...], ...]
    classes: int
    width: int
    height: int


def build_network(
    sections: list[Section], weights: WeightsReader | RandomWeights, *, size: int | None = None
) -> DarknetNetwork:
    """The network of a cfg with its weights, for pictures of `size` (or the cfg's own).

    Raises `ModelError` for a layer that is not known, `WeightsError` for weights that do not fit.
    """
    net = sections[0]
    width, height = size or net.integer("width"), size or net.integer("height")
    graph = _Graph()
    graph.add("Transpose", ["pictures"], "planes", perm=[0, 3, 1, 2])
    graph.add("Cast", ["planes"], "input", to=TensorProto.FLOAT)
    layers: list[_Layer] = []
    heads: list[_Layer] = []
    anchors: list[tuple[tuple[float, float], ...]] = []
    classes = 0
    previous = _Layer("input", 3, width, height)
    for number, section in enumerate(sections[1:]):
        name = f"{section.name}{number}"
        if section.name == "convolutional":
            previous = _convolution(graph, name, section, previous, weights)
        elif section.name == "maxpool":
            previous = _maxpool(graph, name, section, previous)
        elif section.name == "upsample":
            previous = _upsample(graph, name, section, previous)
        elif section.name == "route":
            previous = _route(
                graph, name, [layers[i] for i in _absolute(section, "layers", number)]
            )
        elif section.name == "shortcut":
            (other,) = (layers[i] for i in _absolute(section, "from", number))
            output = graph.add("Add", [previous.output, other.output], name)
            previous = _Layer(output, previous.channels, previous.width, previous.height)
        elif section.name == "yolo":
            heads.append(previous)
            anchors.append(_anchors(section, channels=previous.channels))
            classes = section.integer("classes")
        else:
            raise ModelError(f"The cfg has a layer [{section.name}] that is not known here.")
        layers.append(previous)
    if isinstance(weights, WeightsReader):
        weights.finish()
    if not heads:
        raise ModelError("The cfg has no [yolo] layer: it is no detector.")
    return DarknetNetwork(
        _model(graph, heads, width, height), tuple(anchors), classes, width, height
    )


def _convolution(
    graph: _Graph,
    name: str,
    section: Section,
    source: _Layer,
    weights: WeightsReader | RandomWeights,
) -> _Layer:
    filters, size = section.integer("filters"), section.integer("size")
    stride = section.integer("stride", 1)
    padding = size // 2 if section.integer("pad", 0) else section.integer("padding", 0)
    normalized = bool(section.integer("batch_normalize", 0))
    shape = (filters, source.channels, size, size)
    kernel, bias = (
        weights.convolution(shape, normalized=normalized)
        if isinstance(weights, RandomWeights)
        else _read_convolution(weights, shape, normalized=normalized)
    )
    if source.output == "input":
        # The picture has blue first and goes to 255; darknet wants red first, up to 1.
        kernel = kernel[:, ::-1] / np.float32(255)
    names = [graph.constant(f"{name}.weight", kernel), graph.constant(f"{name}.bias", bias)]
    activation = section.options.get("activation", "linear")
    output = graph.add(
        "Conv",
        [source.output, *names],
        f"{name}.conv" if activation == "leaky" else name,
        kernel_shape=[size, size],
        strides=[stride, stride],
        pads=[padding] * 4,
    )
    if activation == "leaky":
        output = graph.add("LeakyRelu", [output], name, alpha=_LEAKY_SLOPE)
    elif activation != "linear":
        raise ModelError(f"The cfg has an activation {activation!r} that is not known here.")
    return _Layer(
        output,
        filters,
        (source.width + 2 * padding - size) // stride + 1,
        (source.height + 2 * padding - size) // stride + 1,
    )


def _read_convolution(
    weights: WeightsReader, shape: tuple[int, int, int, int], *, normalized: bool
) -> tuple[Floats, Floats]:
    filters = shape[0]
    bias = weights.take(filters)
    if not normalized:
        return weights.take(int(np.prod(shape))).reshape(shape), bias
    scale, mean, variance = (weights.take(filters).astype(np.float64) for _ in range(3))
    kernel = weights.take(int(np.prod(shape))).reshape(shape)
    factor = scale / (np.sqrt(np.maximum(variance, 0)) + _VARIANCE_FLOOR)
    folded = kernel * factor[:, None, None, None]
    return folded.astype(np.float32), (bias - mean * factor).astype(np.float32)


def _maxpool(graph: _Graph, name: str, section: Section, source: _Layer) -> _Layer:
    stride = section.integer("stride", 1)
    size = section.integer("size", stride)
    padding = section.integer("padding", size - 1)
    before, after = padding // 2, padding - padding // 2
    output = graph.add(
        "MaxPool",
        [source.output],
        name,
        kernel_shape=[size, size],
        strides=[stride, stride],
        pads=[before, before, after, after],
    )
    return _Layer(
        output,
        source.channels,
        (source.width + padding - size) // stride + 1,
        (source.height + padding - size) // stride + 1,
    )


def _upsample(graph: _Graph, name: str, section: Section, source: _Layer) -> _Layer:
    stride = section.integer("stride", 2)
    scales = graph.constant(f"{name}.scales", np.array([1, 1, stride, stride], np.float32))
    output = graph.add(
        "Resize",
        [source.output, "", scales],
        name,
        mode="nearest",
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )
    return _Layer(output, source.channels, source.width * stride, source.height * stride)


def _route(graph: _Graph, name: str, sources: list[_Layer]) -> _Layer:
    first = sources[0]
    if len(sources) == 1:
        return first
    output = graph.add("Concat", [source.output for source in sources], name, axis=1)
    return _Layer(output, sum(source.channels for source in sources), first.width, first.height)


def _absolute(section: Section, option: str, number: int) -> Iterator[int]:
    """Layer numbers; negative ones count back from this layer."""
    for index in section.integers(option):
        absolute = index if index >= 0 else number + index
        if not 0 <= absolute < number:
            raise ModelError(f"[{section.name}] of the cfg refers to layer {index}, which is not.")
        yield absolute


def _anchors(section: Section, *, channels: int) -> tuple[tuple[float, float], ...]:
    """A head's (width, height) in input pixels. Raises `ModelError` where it cannot be decoded."""
    for option, usual in (("scale_x_y", 1.0), ("new_coords", 0.0)):
        text = section.options.get(option, usual)
        try:
            known = float(text) == usual
        except ValueError:
            known = False
        if not known:
            raise ModelError(f"[yolo] {option}={text} of the cfg is of a later YOLO than v3.")
    texts = [part.strip() for part in section.options.get("anchors", "").split(",")]
    try:
        numbers = [float(text) for text in texts if text]
        pairs = list(zip(numbers[0::2], numbers[1::2], strict=True))
    except ValueError as error:
        raise ModelError(f"[yolo] anchors of the cfg are no pairs: {', '.join(texts)}.") from error
    mask = section.integers("mask")
    if not mask or not all(0 <= index < len(pairs) for index in mask):
        raise ModelError(
            f"[yolo] mask={section.options.get('mask', '')} of the cfg names none or not one of "
            f"its {len(pairs)} anchors."
        )
    wanted = len(mask) * (5 + section.integer("classes"))
    if channels != wanted:
        raise ModelError(
            f"The layer before a [yolo] of the cfg has filters={channels}; {len(mask)} anchors and "
            f"{section.integer('classes')} classes want {wanted}."
        )
    return tuple(pairs[index] for index in mask)


def _model(graph: _Graph, heads: Iterable[_Layer], width: int, height: int) -> onnx.ModelProto:
    pictures = helper.make_tensor_value_info(
        "pictures", TensorProto.UINT8, ["batch", height, width, 3]
    )
    outputs = [
        helper.make_tensor_value_info(
            head.output, TensorProto.FLOAT, ["batch", head.channels, head.height, head.width]
        )
        for head in heads
    ]
    model = helper.make_model(
        helper.make_graph(graph.nodes, "darknet", [pictures], outputs, graph.constants),
        opset_imports=[helper.make_opsetid("", OPSET)],
        producer_name="visionstack",
    )
    model.ir_version = 9
    onnx.checker.check_model(model)
    return model
