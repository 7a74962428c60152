"""What can go wrong while a network is trained."""

from __future__ import annotations

from visionstack.errors import VisionstackError


class TrainingError(VisionstackError):
    """Training could not go on: no room on the disk, no memory, a checkpoint that is damaged."""


class ProductsError(TrainingError):
    """The pictures cannot be used as products to tell apart."""
