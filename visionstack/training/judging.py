"""How good a classifier is and how far its softmax may be believed. Arrays in, figures out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Logits = NDArray[np.float64]
Numbers = NDArray[np.int64]

_Z95: Final = 1.959963984540054
_BINS: Final = 15
WANTED_ACCURACY: Final = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """A share of right answers with its 95 % interval (Wilson 1927)."""

    right: int
    of: int

    @property
    def share(self) -> float:
        return self.right / self.of

    @property
    def interval(self) -> tuple[float, float]:
        """Score interval for a binomial proportion; right for few pictures and near 0 and 1."""
        square = _Z95**2
        middle = (self.right + square / 2) / (self.of + square)
        half = _Z95 * math.sqrt(self.share * (1 - self.share) / self.of + square / (4 * self.of**2))
        half /= 1 + square / self.of
        return max(0.0, middle - half), min(1.0, middle + half)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        low, high = self.interval
        return {
            "share": self.share,
            "low": low,
            "high": high,
            "right": self.right,
            "of": self.of,
            "interval": "95 %, Wilson",
        }


def top_k(logits: Logits, product: Numbers, k: int) -> Accuracy:
    """Pictures (n, products) whose product is among the `k` most likely."""
    best = np.argsort(-logits, axis=1, kind="stable")[:, :k]
    return Accuracy(right=int((best == product[:, None]).any(1).sum()), of=len(product))


def softmax(logits: Logits, temperature: float = 1.0) -> Logits:
    """Shares (n, products) at a temperature."""
    scaled = logits / temperature
    shares = np.exp(scaled - scaled.max(1, keepdims=True))
    result: Logits = shares / shares.sum(1, keepdims=True)
    return result


def log_loss(logits: Logits, product: Numbers, temperature: float = 1.0) -> float:
    """Mean negative log-likelihood."""
    shares = softmax(logits, temperature)[np.arange(len(product)), product]
    return float(-np.log(np.maximum(shares, 1e-300)).mean())


def fit_temperature(logits: Logits, product: Numbers) -> float:
    """The temperature of least log loss (Guo et al. 2017), from 0.05 to 20, by golden section.

    The targets are Platt's (1999): 1 - 1 / (n + 2) for the right product, the rest spread over all.
    Where n pictures are all right, the plain loss falls towards a temperature of 0, at which every
    answer is sure, also to a picture of none of the products. The loss is convex in
    1 / temperature.
    """
    doubt = 1 / (len(product) + 2)

    def loss(inverse: float) -> float:
        scaled = logits * inverse
        scaled = scaled - scaled.max(1, keepdims=True)
        logs = scaled - np.log(np.exp(scaled).sum(1, keepdims=True))
        right = logs[np.arange(len(product)), product]
        return -float(((1 - doubt) * right + doubt * logs.mean(1)).mean())

    low, high = 1 / 20.0, 20.0
    golden = (math.sqrt(5) - 1) / 2
    for _ in range(60):
        a, b = high - golden * (high - low), low + golden * (high - low)
        if loss(a) < loss(b):
            high = b
        else:
            low = a
    return 2 / (low + high)


def calibration_error(logits: Logits, product: Numbers, temperature: float = 1.0) -> float:
    """Expected calibration error over 15 bins of equal width (Naeini et al. 2015)."""
    shares = softmax(logits, temperature)
    sure = shares.max(1)
    right = shares.argmax(1) == product
    bins = np.minimum((sure * _BINS).astype(int), _BINS - 1)
    total = 0.0
    for number in range(_BINS):
        mine = bins == number
        if mine.any():
            total += mine.mean() * abs(float(right[mine].mean()) - float(sure[mine].mean()))
    return float(total)


def choose_threshold(
    logits: Logits, product: Numbers, temperature: float, *, wanted: float = WANTED_ACCURACY
) -> float | None:
    """The lowest softmax below which to answer "unknown" so that of what is answered at least
    `wanted` is right; None when no threshold reaches that."""
    shares = softmax(logits, temperature)
    sure, right = shares.max(1), shares.argmax(1) == product
    order = np.argsort(-sure, kind="stable")
    accuracy = np.cumsum(right[order]) / np.arange(1, len(order) + 1)
    good = np.flatnonzero(accuracy >= wanted)
    return float(sure[order][good[-1]]) if len(good) else None


def answered(
    logits: Logits, product: Numbers, temperature: float, threshold: float
) -> dict[str, Any]:
    """What a threshold does: the share of pictures that are answered, and how many of them right.

    Half an ulp below the threshold still counts as reaching it."""
    shares = softmax(logits, temperature)
    kept = shares.max(1) >= threshold - 1e-12
    right = (shares.argmax(1) == product)[kept]
    accuracy = (
        Accuracy(right=int(right.sum()), of=int(kept.sum())).to_json() if len(right) else None
    )
    return {"answered": float(kept.mean()), "accuracy": accuracy}


def confusion(logits: Logits, product: Numbers, products: int) -> NDArray[np.int64]:
    """Counts (true product, answered product)."""
    counts = np.zeros((products, products), np.int64)
    np.add.at(counts, (product, logits.argmax(1)), 1)
    return counts
