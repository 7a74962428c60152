"""Torch networks to ONNX with pictures (uint8, batch, height, width, 3) as their input.

Importing this imports torch.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from typing import Final, Literal

import onnx
import torch
from torch import nn

from visionstack.models.onnx_graph import free_batch, simplify

OPSET: Final = 17


class _OnPictures(nn.Module):
    """(pixel - mean) / deviation, by colour, before the network."""

    def __init__(
        self, network: nn.Module, *, mean: Sequence[float], deviation: Sequence[float]
    ) -> None:
        super().__init__()
        self.network = network
        self.mean = torch.tensor(mean).view(1, 3, 1, 1)
        self.factor = 1 / torch.tensor(deviation).view(1, 3, 1, 1)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        planes = pictures.permute(0, 3, 1, 2).float()
        result: torch.Tensor = self.network((planes - self.mean) * self.factor)
        return result


class _OnRawPictures(nn.Module):
    """For a network whose first convolution was already scaled."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        result = self.network(pictures.permute(0, 3, 1, 2).float())
        output: torch.Tensor = result[0] if isinstance(result, (tuple, list)) else result
        return output


class _WithCorners(nn.Module):
    """RT-DETR's rows (centre, extent, score, class), from 0 to 1, with corners in pixels."""

    def __init__(self, network: nn.Module, *, size: int) -> None:
        super().__init__()
        self.network = network
        self.size = size

    def forward(self, planes: torch.Tensor) -> torch.Tensor:
        result = self.network(planes)
        rows: torch.Tensor = result[0] if isinstance(result, (tuple, list)) else result
        centre, half = rows[..., :2] * self.size, rows[..., 2:4] * (self.size / 2)
        return torch.cat([centre - half, centre + half, rows[..., 4:]], dim=-1)


def export_classifier(
    network: nn.Module, *, size: int, mean: Sequence[float], deviation: Sequence[float]
) -> onnx.ModelProto:
    """Logits of pictures of `size`; `mean` and `deviation` by colour, of pixels from 0 to 255."""
    onnx_model = _export(
        _OnPictures(network, mean=mean, deviation=deviation), size, output="logits"
    )
    return simplify(onnx_model)


def export_detector(
    network: nn.Module, *, size: int, boxes: Literal["as given", "centred"] = "as given"
) -> onnx.ModelProto:
    """The one output of a detector whose first convolution takes pixels from 0 to 255.

    `centred` boxes, from 0 to 1, leave the graph as corners in pixels of the input.
    """
    if boxes == "centred":
        # A transformer's reshapes mix the batch with other axes: traced with it as an unknown.
        return simplify(
            _export(_OnRawPictures(_WithCorners(network, size=size)), size, output="output")
        )
    # Traced for one picture, or every anchor and reshape would be computed from the batch's shape.
    return free_batch(simplify(_export(_OnRawPictures(network), size, output="output", batch=1)))


def _export(
    network: nn.Module, size: int, *, output: str, batch: int | None = None
) -> onnx.ModelProto:
    """`batch` is the number of pictures that the graph takes, None any number."""
    free = None if batch else {"pictures": {0: "batch"}, output: {0: "batch"}}
    buffer = io.BytesIO()
    with warnings.catch_warnings(), torch.inference_mode():
        # The exporter warns of its own deprecation and of every shape that it freezes on purpose.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network.eval(),
            (torch.zeros((batch or 2, size, size, 3), dtype=torch.uint8),),
            buffer,  # type: ignore[arg-type]  # the exporter takes files too
            input_names=["pictures"],
            output_names=[output],
            dynamic_axes=free,
            opset_version=OPSET,
            dynamo=False,
        )
    return onnx.load_model_from_string(buffer.getvalue())
