"""What can go wrong while a classifier is trained."""

from __future__ import annotations

from visionstack.errors import VisionstackError


class TrainingError(VisionstackError):
    """Root of this package's errors."""


class ProductsError(TrainingError):
    """The pictures cannot be used as products to tell apart."""
