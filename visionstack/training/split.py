"""Three parts out of one: stratified by product, by a seed, near-duplicates on one side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from visionstack.training.products import PARTS, Part

SHARES: Final[Mapping[Part, float]] = {"train": 0.7, "validation": 0.15, "test": 0.15}


def split(
    product: NDArray[np.int64],
    group: NDArray[np.int64],
    given: Sequence[Part | None],
    *,
    seed: int,
) -> tuple[list[Part | None], int]:
    """Each picture's part, and how many are left out.

    What the source says about parts is kept. A picture that is nearly one of a given test (or
    validation) part is left out of the parts before it (None), since learning it would be learning
    the answer. Every product gets at least one group in each part as long as it has them.
    """
    parts: list[Part | None] = list(given)
    fixed = {part for part in given if part is not None}
    dropped = 0
    for earlier, later in (("train", "test"), ("train", "validation"), ("validation", "test")):
        held = {int(group[at]) for at, part in enumerate(given) if part == later}
        for at, part in enumerate(parts):
            if part == earlier and int(group[at]) in held:
                parts[at] = None
                dropped += 1
    wanted: list[Part] = [part for part in PARTS if part not in fixed]
    if not wanted:
        return parts, dropped
    # What is missing is cut out of the training pictures where there are such, else out of all.
    pool = [at for at, part in enumerate(parts) if (part == "train" if fixed else part is None)]
    into: list[Part] = ["train", *(part for part in wanted if part != "train")]
    chosen = _assign(product[pool], group[pool], into, seed=seed)
    for at, part in zip(pool, chosen, strict=True):
        parts[at] = part
    return parts, dropped


def _assign(
    product: NDArray[np.int64], group: NDArray[np.int64], into: Sequence[Part], *, seed: int
) -> list[Part]:
    """Groups in random order, the largest first, each to the part that lacks its products most."""
    total = sum(SHARES[part] for part in into)
    shares = np.array([SHARES[part] / total for part in into])
    products = int(product.max()) + 1 if len(product) else 0
    wanted = np.bincount(product, minlength=products)[:, None] * shares
    have = np.zeros_like(wanted)
    random = np.random.default_rng(seed)
    members: dict[int, list[int]] = {}
    for at in random.permutation(len(product)).tolist():
        members.setdefault(int(group[at]), []).append(at)
    result: list[Part] = ["train"] * len(product)
    for pictures in sorted(members.values(), key=len, reverse=True):
        counts = np.bincount(product[pictures], minlength=products)
        touched = counts > 0
        # A part without any picture of a product comes first, then the one furthest behind.
        lack = (wanted - have)[touched] / np.maximum(wanted[touched], 1e-9)
        empty = (have[touched] == 0) & (wanted[touched] > 0)
        best = int(np.argmax((lack + 2 * empty).sum(0)))
        have[:, best] += counts
        for at in pictures:
            result[at] = into[best]
    return result
