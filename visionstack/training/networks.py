"""The networks that are trained: one of our own, and pre-trained ones with a new last layer.

Importing this imports torch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

from runtime.inference.artifact import Preprocessing, Weights
from visionstack.errors import UsageError
from visionstack.models.classifiers import (
    RESNETS,
    ClassifierNetwork,
    efficientnet_lite0,
    resnet,
    torchvision_models,
)
from visionstack.models.downloads import Say
from visionstack.models.draft import BuildContext, BuildOptions
from visionstack.models.errors import DownloadError

torchvision_models()  # so that whatever imports this may import torchvision and Lightning
EFFICIENTNET: Final = "efficientnet-lite0"
BACKBONES: Final = (EFFICIENTNET, *RESNETS)
_WIDTHS: Final = (32, 64, 128, 256)
_DROPOUT: Final = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Backbone:
    """What turns pictures into features, and how its pictures must be scaled (from 0 to 255)."""

    name: str
    body: nn.Module
    width: int
    """Features a picture."""
    weights: Weights
    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]
    licence: str

    def scaled(self, pictures: torch.Tensor) -> torch.Tensor:
        """As the body takes them: uint8 or float pictures (n, 3, height, width) from 0 to 255."""
        mean = torch.tensor(self.mean, device=pictures.device).view(1, 3, 1, 1)
        deviation = torch.tensor(self.deviation, device=pictures.device).view(1, 3, 1, 1)
        return (pictures.float() - mean) / deviation

    def features(self, pictures: torch.Tensor) -> torch.Tensor:
        """(n, width) of such pictures."""
        found: torch.Tensor = self.body(self.scaled(pictures))
        return found


class ProductNetwork(nn.Module):
    """A backbone's body and the new last layer; logits of scaled pictures."""

    def __init__(self, backbone: Backbone, products: int) -> None:
        super().__init__()
        self.body = backbone.body
        self.head = nn.Sequential(nn.Dropout(_DROPOUT), nn.Linear(backbone.width, products))

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.body(pictures))
        return logits


def own_network(*, shrink: int = 1) -> Backbone:
    """Four convolutions, each normalised and halved, from scratch: the paper's first way.

    `shrink` averages that many pixels a side first, for pictures that were scaled up.
    """
    layers: list[nn.Module] = [nn.AvgPool2d(shrink)] if shrink > 1 else []
    inputs = 3
    for width in _WIDTHS:
        layers += [
            nn.Conv2d(inputs, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.MaxPool2d(2),
        ]
        inputs = width
    return Backbone(
        name="own CNN, four convolutions",
        body=nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        width=inputs,
        weights=Weights(trained=False, description="random at the start"),
        mean=(127.0, 127.0, 127.0),
        deviation=(64.0, 64.0, 64.0),
        licence="AGPL-3.0",
    )


def find_backbone(name: str | None, *, size: int, cache: Path, say: Say) -> Backbone:
    """A pre-trained network by name: `BACKBONES` or any of timm's.

    Without a name: ResNet50, as in the paper, where its weights are reachable, else
    EfficientNet-Lite0. A named network whose weights are not reachable starts from random ones,
    and its `weights` say so. Raises `UsageError` for a name that nobody knows.
    """
    context = BuildContext(options=BuildOptions(), cache=cache, say=say)
    if name is None:
        try:
            return _of(resnet(context, name="resnet50"), name="resnet50", last="fc")
        except DownloadError:
            name = EFFICIENTNET
    if name == EFFICIENTNET:
        return _of(efficientnet_lite0(context, size=size), name=name, last="_fc")
    if name in RESNETS:
        context = replace(context, options=BuildOptions(random=True))
        return _of(resnet(context, name=name), name=name, last="fc")
    return _timm(name, say)


def _of(found: ClassifierNetwork, *, name: str, last: str) -> Backbone:
    """Without its layer `last`."""
    body: Any = found.network
    width = int(getattr(body, last).in_features)
    setattr(body, last, nn.Identity())
    return Backbone(
        name=name,
        body=body,
        width=width,
        weights=found.weights,
        mean=found.mean,
        deviation=found.deviation,
        licence=found.licence,
    )


def _timm(name: str, say: Say) -> Backbone:
    """timm's own names; weights from its hub where that is reachable."""
    import timm

    if not timm.is_model(name):
        near = ", ".join(timm.list_models(f"*{name[:6]}*")[:3])
        raise UsageError(
            f"There is no backbone {name!r}.",
            remedy=f"There are {', '.join(BACKBONES)}, and timm's names"
            + (f" such as {near}." if near else "."),
        )
    weights = Weights(trained=True, description=f"timm's {name}")
    try:
        say(f"fetching {name}")
        body: Any = timm.create_model(name, pretrained=True, num_classes=0)
    except Exception as error:  # hub, network and files each raise their own
        say(f"random weights, since {error}")
        body = timm.create_model(name, pretrained=False, num_classes=0)
        weights = Weights(
            trained=False, description="random at the start (timm's were not reachable)"
        )
    told = body.pretrained_cfg
    with torch.inference_mode():
        side = int(told.get("input_size", (3, 224, 224))[1])
        width = body.eval()(torch.zeros(1, 3, side, side)).shape[1]
    return Backbone(
        name=name,
        body=body,
        width=int(width),
        weights=weights,
        mean=_to_bytes(told["mean"]),
        deviation=_to_bytes(told["std"]),
        licence=str(told.get("license") or "see timm"),
    )


def _to_bytes(values: Any) -> tuple[float, float, float]:
    red, green, blue = (255 * float(value) for value in values)
    return red, green, blue


def preprocessing(size: int) -> Preprocessing:
    """How the artifact prepares a picture: as `dataset.square` did for training."""
    return Preprocessing(kind="crop", resize=size, interpolation="bicubic")


def parameters(network: nn.Module) -> int:
    """Numbers that training may set."""
    return sum(parameter.numel() for parameter in network.parameters())


class Exported(nn.Module):
    """A trained network with its softmax temperature and, if wanted, an answer "unknown".

    The logits are divided by the temperature (Guo et al. 2017, arXiv:1706.04599). With a threshold
    t one more logit follows, log(t) + logsumexp(logits): it is the largest exactly when the most
    likely product's softmax is below t, so that no program that reads the graph needs to know t.
    """

    def __init__(
        self, network: Callable[..., Any], *, temperature: float, unknown_below: float | None
    ) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("temperature", torch.tensor(float(temperature)), persistent=False)
        self.unknown_below = unknown_below

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.network(pictures) / self.temperature
        if self.unknown_below is None:
            return logits
        limit = torch.log(torch.tensor(self.unknown_below))
        none = limit + torch.logsumexp(logits, 1, keepdim=True)
        return torch.cat([logits, none], 1)
