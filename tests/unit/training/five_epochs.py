"""A training of five epochs that says each one's number: here, or in a process to be killed."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from visionstack.training.dataset import read_dataset
from visionstack.training.products import list_products
from visionstack.training.run import Plan, train


def five_epochs(source: Path, base: Path, say: Callable[[int], None]) -> None:
    dataset = read_dataset(list_products(source), base / "squares", size=32)
    plan = Plan(
        models=base / "models", folder=base / "out", way="scratch", augment=True, epochs=5,
        patience=9, name="mine",
    )  # fmt: skip
    train(dataset, plan, told=lambda _, epoch: say(epoch.number))


if __name__ == "__main__":
    five_epochs(Path(sys.argv[1]), Path(sys.argv[2]), lambda number: print(number, flush=True))
