"""Size, rotation and lighting changed at random, as the paper's third way does.

Importing this imports torch.
"""

from __future__ import annotations

from typing import Final

import torch
from torch.nn import functional

SCALE: Final = (0.8, 1.2)
DEGREES: Final = 12.0
BRIGHTNESS: Final = 0.25
CONTRAST: Final = 0.25


def augment(pictures: torch.Tensor, *, generator: torch.Generator) -> torch.Tensor:
    """Pictures (n, 3, height, width) from 0 to 255, each changed in its own way."""
    count = len(pictures)

    def between(low: float, high: float) -> torch.Tensor:
        return low + (high - low) * torch.rand(count, generator=generator)

    angle = torch.deg2rad(between(-DEGREES, DEGREES))
    size = 1 / between(*SCALE)
    cosine, sine, none = size * angle.cos(), size * angle.sin(), torch.zeros(count)
    matrix = torch.stack(
        [torch.stack([cosine, -sine, none], 1), torch.stack([sine, cosine, none], 1)], 1
    )
    grid = functional.affine_grid(matrix, list(pictures.shape), align_corners=False)
    turned = functional.grid_sample(
        pictures, grid, padding_mode="border", mode="bilinear", align_corners=False
    )
    light = between(1 - BRIGHTNESS, 1 + BRIGHTNESS).view(-1, 1, 1, 1)
    contrast = between(1 - CONTRAST, 1 + CONTRAST).view(-1, 1, 1, 1)
    middle = turned.mean((1, 2, 3), keepdim=True)
    return ((turned - middle) * contrast + middle * light).clamp(0, 255)
