"""What can go wrong when money is calculated."""

from __future__ import annotations

from visionstack.errors import UsageError, VisionstackError


class CostError(VisionstackError):
    """The root of this package's errors."""


class NoPriceError(CostError, UsageError):
    """A price book does not hold a price that was asked of it."""


class PriceBookError(CostError):
    """A price book is missing, or damaged."""


class CostInputError(CostError, UsageError):
    """A quantity that cannot be: a negative time, a memory size that Lambda does not have."""
