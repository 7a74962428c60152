"""Training within a given time: as many epochs as fit, the best one kept.

Importing this imports torch.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal

import torch
from torch.nn import functional

from runtime.inference.engines.processor import computes_bfloat16
from visionstack.training.augmentation import augment
from visionstack.training.networks import Backbone, scaled
from visionstack.training.products import Pictures, Products

BATCH: Final = 32
RATE_NEW: Final = 2e-3
RATE_PRETRAINED: Final = 4e-4
_DECAY: Final = 1e-2
_SMOOTHING: Final = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """After a pass over the training pictures; shares are of the test pictures, 0 to 1."""

    number: int
    seconds: float
    loss: float
    top1: float
    top5: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """How a network was trained: its epochs, and whether `epochs` or `time` ended it."""

    epochs: tuple[Epoch, ...]
    stopped_by: Literal["epochs", "time"]

    @property
    def best(self) -> Epoch:
        """The first epoch with the best test top 1."""
        return max(self.epochs, key=lambda epoch: epoch.top1)


def fit(
    backbone: Backbone,
    products: Products,
    *,
    augmented: bool,
    epochs: int,
    seconds: float,
    told: Callable[[Epoch], None] = lambda _: None,
    seed: int = 0,
) -> Fit:
    """Train in place until `epochs` or `seconds` are over, at least one epoch.

    The learning rate falls along a half cosine over whichever of the two comes first, judged anew
    at each step. The network ends with the weights of its best epoch by test top 1 (the earlier of
    equals), which makes that figure a little kinder than a third part would.
    """
    generator = torch.Generator().manual_seed(seed)
    network = backbone.network
    optimizer = torch.optim.AdamW(_groups(backbone), weight_decay=_DECAY)
    rates = [group["lr"] for group in optimizer.param_groups]
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    past: list[Epoch] = []
    late = False
    kept: dict[str, Any] = {}
    begun = time.monotonic()
    batches = math.ceil(len(products.train) / BATCH)
    for number in range(1, epochs + 1):
        network.train()
        losses: list[float] = []
        order = torch.randperm(len(products.train), generator=generator)
        for step, chosen in enumerate(torch.split(order, BATCH)):
            if len(chosen) < 2:
                continue  # batch statistics need two
            done = max((number - 1 + step / batches) / epochs, (time.monotonic() - begun) / seconds)
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * 0.5 * (1 + math.cos(math.pi * min(done, 1)))
            pictures, wanted = _batch(products.train, chosen)
            if augmented:
                pictures = augment(pictures, generator=generator)
            logits = _logits(backbone, pictures)
            loss = functional.cross_entropy(logits, wanted, label_smoothing=_SMOOTHING)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            losses.append(loss.item())
            late = time.monotonic() - begun > seconds
            if late:
                break
        top1, top5 = accuracy(backbone, products.test)
        epoch = Epoch(
            number=number,
            seconds=time.monotonic() - begun,
            loss=sum(losses) / len(losses),
            top1=top1,
            top5=top5,
        )
        if not past or top1 > max(one.top1 for one in past):
            kept = copy.deepcopy(network.state_dict())
        past.append(epoch)
        told(epoch)
        if late:
            break
    network.load_state_dict(kept)
    network.eval()
    return Fit(epochs=tuple(past), stopped_by="time" if late else "epochs")


def accuracy(backbone: Backbone, pictures: Pictures) -> tuple[float, float]:
    """Shares of pictures whose product is the first, and among the first five."""
    backbone.network.eval()
    first = among = 0
    with torch.inference_mode():
        for chosen in torch.split(torch.arange(len(pictures)), 2 * BATCH):
            values, wanted = _batch(pictures, chosen)
            logits = _logits(backbone, values)
            best = logits.topk(min(5, logits.shape[1])).indices
            hits = best == wanted[:, None]
            first += int(hits[:, 0].sum())
            among += int(hits.any(1).sum())
    return first / len(pictures), among / len(pictures)


def _logits(backbone: Backbone, pictures: torch.Tensor) -> torch.Tensor:
    """In bfloat16 where the processor multiplies it; weights and loss stay in float32."""
    values = scaled(pictures, backbone).contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16, enabled=computes_bfloat16()):
        logits: torch.Tensor = backbone.network(values)
    return logits.float()


def _batch(pictures: Pictures, chosen: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    index = chosen.numpy()
    values = torch.from_numpy(pictures.pixels[index]).permute(0, 3, 1, 2).float()
    return values, torch.from_numpy(pictures.product[index])


def _groups(backbone: Backbone) -> list[dict[str, Any]]:
    """What is new learns faster than what was learnt before."""
    new: list[torch.nn.Parameter] = []
    known: list[torch.nn.Parameter] = []
    for name, parameter in backbone.network.named_parameters():
        fresh = backbone.last is None or name.startswith(backbone.last)
        (new if fresh else known).append(parameter)
    groups: list[dict[str, Any]] = [{"params": new, "lr": RATE_NEW}]
    return [*groups, {"params": known, "lr": RATE_PRETRAINED}] if known else groups
