"""What can go wrong with a comparison."""

from __future__ import annotations

from visionstack.errors import UsageError, VisionstackError


class CompareError(VisionstackError):
    """The root of this package's errors."""


class RowUsageError(CompareError, UsageError):
    """A row or a scenario that was asked for cannot be."""


class BudgetError(CompareError, UsageError):
    """The comparison could cost more than is allowed, or nobody said what is allowed."""


class NotRunError(CompareError):
    """A row cannot be measured here; nothing failed while it was. The message is shown for it."""


class MixedResultsError(CompareError):
    """Results of two models, versions or pictures must not stand in one table."""


class RecordError(CompareError):
    """A comparison's JSON is missing or damaged."""
