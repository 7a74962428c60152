"""Pictures to train with: noise on three colours, so that few epochs tell them apart."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

COLOURS = ((200, 60, 60), (60, 200, 60), (60, 60, 200), (200, 200, 60))


def picture(seed: int, *, colour: int = 0, side: int = 40, kind: str = "PNG") -> bytes:
    """A picture of its own: blocks of noise that no other seed has."""
    random = np.random.default_rng(seed)
    blocks = random.normal(0, 40, (8, 8, 3)).repeat(side // 8, 0).repeat(side // 8, 1)
    pixels = np.clip(np.array(COLOURS[colour % 4]) + blocks, 0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


def fill(folder: Path, counts: Mapping[str, int], *, side: int = 40) -> Path:
    """`counts` pictures in each folder, all different; a product's colour goes by its name."""
    seed = 0
    products = sorted({name.rpartition("/")[2] for name in counts})
    for name, count in counts.items():
        (folder / name).mkdir(parents=True)
        for number in range(count):
            seed += 1
            colour = products.index(name.rpartition("/")[2])
            data = picture(seed, colour=colour, side=side)
            (folder / name / f"{number:03}.png").write_bytes(data)
    return folder


@pytest.fixture
def three(tmp_path: Path) -> Path:
    """Three products of 20 pictures."""
    return fill(tmp_path / "three", {"P-1": 20, "P-2": 20, "P-3": 20})
