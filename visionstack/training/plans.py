"""What to train and how it went, and which of the paper's ways suits the data. Without torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from visionstack.training import Way, WayChoice

LITTLE: Final = 200
"""Training pictures a product up to which only the last layer is trained by default.

The paper (2.1) says "little" and "much" data without figures; this is ours, and `--way best`
lets the validation pictures decide instead."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A way of training, with size, rotation and lighting changed at random or not."""

    way: Way
    augmented: bool = False

    @property
    def name(self) -> str:
        what = {
            "scratch": "own network from scratch",
            "head": "pre-trained network, last layer trained",
            "all": "pre-trained network, all layers trained",
        }[self.way]
        return what + (" with augmentation" if self.augmented else "")

    @property
    def key(self) -> str:
        """Safe in a file name."""
        return self.way + ("-augmented" if self.augmented else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """After a pass over the training pictures: losses, and the validation part's top 1 (0 to 1)."""

    number: int
    seconds: float
    loss: float
    val_loss: float
    val_top1: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """A training run's epochs, and what ended it."""

    epochs: tuple[Epoch, ...]
    stopped_by: Literal["epochs", "early stopping"]

    @property
    def best(self) -> Epoch:
        """The first epoch with the least validation loss, whose weights are kept."""
        return min(self.epochs, key=lambda epoch: epoch.val_loss)


def candidates(
    way: WayChoice, *, augment: bool | None, per_product: float, pretrained: bool
) -> tuple[list[Candidate], str]:
    """What to train, and why. `way` is auto, best, or one of the ways; `augment` None leaves it to
    the validation pictures; `per_product` is training pictures a product."""
    ways: list[Way]
    if way == "best":
        ways, why = ["head", "all"], "both ways are trained and the validation pictures decide"
    elif way == "auto":
        figures = f"{per_product:.0f} training pictures a product"
        if not pretrained:
            ways = ["all"]
            why = "all layers, since no pre-trained weights were to be had"
        elif per_product <= LITTLE:
            ways, why = ["head"], f"last layer only, since {figures} are little ({LITTLE} or fewer)"
        else:
            ways, why = ["all"], f"all layers, since {figures} are much (over {LITTLE})"
    else:
        ways, why = [way], "as asked"
    choices = [False, True] if augment is None else [augment]
    if augment is None:
        why += "; augmentation as the validation pictures decide"
    return [Candidate(one, choice) for one in ways for choice in choices], why
