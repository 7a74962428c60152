"""The networks that are trained: one of our own, and a pre-trained one with a new last layer.

Importing this imports torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from torch import nn

from runtime.inference.artifact import Preprocessing
from visionstack.models.classifiers import ClassifierNetwork, efficientnet_lite0, resnet
from visionstack.models.downloads import Say
from visionstack.models.draft import BuildContext, BuildOptions
from visionstack.models.efficientnet import EfficientNetLite0
from visionstack.models.errors import DownloadError

_WIDTHS: Final = (32, 64, 128, 256)


class OwnNetwork(nn.Sequential):
    """Four convolutions, each normalised and halved, and a linear layer: the paper's first way."""

    def __init__(self, *, products: int) -> None:
        layers: list[nn.Module] = []
        inputs = 3
        for width in _WIDTHS:
            layers += [
                nn.Conv2d(inputs, width, 3, padding=1, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(),
                nn.MaxPool2d(2),
            ]
            inputs = width
        layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, products)]
        super().__init__(*layers)


@dataclass(frozen=True, slots=True, kw_only=True)
class Backbone:
    """A network to train: what it is, its last layer's name, and how pictures must be scaled."""

    network: nn.Module
    described: str
    weights: str
    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]
    licence: str
    last: str | None
    """Prefix of the parameters that are new; None when all are."""


def own_network(products: int) -> Backbone:
    """From scratch."""
    return Backbone(
        network=OwnNetwork(products=products),
        described="own CNN, four convolutions",
        weights="random at the start",
        mean=(127.0, 127.0, 127.0),
        deviation=(64.0, 64.0, 64.0),
        licence="AGPL-3.0",
        last=None,
    )


def pretrained(products: int, *, size: int, cache: Path, say: Say) -> Backbone:
    """ResNet50 when torchvision's weights are reachable, else EfficientNet-Lite0."""
    context = BuildContext(options=BuildOptions(), cache=cache, say=say)
    try:
        found = resnet(context, name="resnet50")
    except DownloadError:
        found = efficientnet_lite0(context)
    else:
        last = nn.Linear(2048, products)
        found.network.fc = last
        return _backbone(found, found.network, "ResNet50", last="fc.")
    network = EfficientNetLite0(classes=products, size=size)
    state = found.network.state_dict()
    kept = {name: values for name, values in state.items() if not name.startswith("_fc.")}
    network.load_state_dict(kept, strict=False)
    nn.init.zeros_(network._fc.bias)
    described = "EfficientNet-Lite0 (the paper's ResNet50 has no reachable weights here)"
    return _backbone(found, network, described, last="_fc.")


def preprocessing(size: int) -> Preprocessing:
    """How the artifact prepares a picture: as `products.read_products` did for training."""
    return Preprocessing(kind="crop", resize=size, interpolation="bicubic")


def parameters(network: nn.Module) -> int:
    """Numbers that training sets."""
    return sum(parameter.numel() for parameter in network.parameters())


def _backbone(
    found: ClassifierNetwork, network: nn.Module, described: str, *, last: str
) -> Backbone:
    return Backbone(
        network=network,
        described=described,
        weights=found.weights.description,
        mean=found.mean,
        deviation=found.deviation,
        licence=found.licence,
        last=last,
    )


def scaled(pictures: torch.Tensor, backbone: Backbone) -> torch.Tensor:
    """Pictures (n, 3, height, width) from 0 to 255 as the network wants them."""
    mean = torch.tensor(backbone.mean).view(1, 3, 1, 1)
    deviation = torch.tensor(backbone.deviation).view(1, 3, 1, 1)
    return (pictures - mean) / deviation
