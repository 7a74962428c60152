"""A program that trains five epochs in each folder named and says their numbers.

In a process of its own, since other tests leave settings of torch behind that change its rounding.
"""

from __future__ import annotations

import sys
from pathlib import Path

from visionstack.training.dataset import read_dataset
from visionstack.training.products import list_products
from visionstack.training.run import Plan, train


def five_epochs(source: Path, base: Path) -> None:
    dataset = read_dataset(list_products(source), base / "squares", size=32)
    plan = Plan(
        models=base / "models", folder=base / "out", way="scratch", augment=True, epochs=5,
        patience=9, name="mine",
    )  # fmt: skip
    train(dataset, plan, told=lambda _, epoch: print(epoch.number, flush=True))


if __name__ == "__main__":
    for base in sys.argv[2:]:
        five_epochs(Path(sys.argv[1]), Path(base))
