"""A bill: lines of quantity times price, over a month."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

DAYS_A_MONTH: Final = 365 / 12
HOURS_A_MONTH: Final = 24 * DAYS_A_MONTH
"""730: what AWS's own calculator takes for a month."""


@dataclass(frozen=True)
class Item:
    """One line of a bill."""

    name: str
    quantity: float
    unit: str
    usd: float


@dataclass(frozen=True)
class Bill:
    """What one month costs."""

    items: tuple[Item, ...]
    days: float = DAYS_A_MONTH

    @classmethod
    def of(cls, items: Sequence[Item], *, days: float = DAYS_A_MONTH) -> Bill:
        """A bill of the items that cost something, or whose price is zero for a reason."""
        return cls(tuple(item for item in items if item.quantity), days)

    @property
    def usd(self) -> float:
        """The month's total."""
        return sum(item.usd for item in self.items)

    @property
    def usd_per_day(self) -> float:
        """The total, a day."""
        return self.usd / self.days

    def item(self, name: str) -> float:
        """What the lines of that name cost together; zero where there is none."""
        return sum(item.usd for item in self.items if item.name == name)

    def __add__(self, other: Bill) -> Bill:
        return Bill(self.items + other.items, self.days)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "usd_per_month": self.usd,
            "usd_per_day": self.usd_per_day,
            "items": [asdict(item) for item in self.items],
        }


def usd_per_million(*, images_per_second: float, usd_per_hour: float) -> float:
    """What a million images cost on a machine that is busy all the time.

    USD an hour / 3600 / images a second x 1,000,000.

    Raises:
        ValueError: the rate is not positive.
    """
    if images_per_second <= 0:
        raise ValueError(f"a rate of {images_per_second} images a second makes no million")
    return usd_per_hour / 3600 / images_per_second * 1_000_000
