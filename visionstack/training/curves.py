"""The learning curves of a run, as SVG and PNG."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any


def draw(record: Mapping[str, Any], folder: Path) -> list[Path]:
    """Test top 1 and training loss over the epochs of each way. Returns the files written."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, (top, bottom) = plt.subplots(2, 1, figsize=(7, 6), sharex=True)
    try:
        for way in record["ways"]:
            numbers = [epoch["number"] for epoch in way["epochs"]]
            label = f"{way['name']}: {way['top1']:.1%}"
            shares = [100 * epoch["top1"] for epoch in way["epochs"]]
            top.plot(numbers, shares, marker="o", markersize=3, label=label)
            losses = [epoch["loss"] for epoch in way["epochs"]]
            bottom.plot(numbers, losses, marker="o", markersize=3)
        products = record["products"]
        top.set_title(
            f"{products['source']}: {products['count']} products, "
            f"{products['train']} pictures to train, {products['test']} to test"
        )
        top.set_ylabel("test top 1, %")
        top.legend(loc="lower right")
        bottom.set_ylabel("training loss")
        bottom.set_xlabel("epoch")
        for axes in (top, bottom):
            axes.grid(alpha=0.3)
        figure.tight_layout()
        written = [folder / "curves.svg", folder / "curves.png"]
        for path in written:
            figure.savefig(path, dpi=120)
    finally:
        plt.close(figure)
    return written
