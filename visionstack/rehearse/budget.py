"""The most that a rehearsal can cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from stacks.catalog import Catalog
from visionstack.compare.errors import BudgetError
from visionstack.compare.plan import most_function_usd, most_instance_usd
from visionstack.compare.record import Row
from visionstack.compare.targets import FunctionSetting, Kind
from visionstack.cost.prices import PriceBook
from visionstack.cost.standing import WARM, Standing

LAST_STEP_MINUTES: Final = 60
"""For the step that is under way when the time is over, and for destroying: CloudFormation waits
15 minutes for an instance and about as long for what it deletes."""
COMPARED_MINUTES: Final = 20
"""After which a compared instance ends by itself."""
CALLS: Final = 60
"""Of the classifier, retries counted: the steps make ten."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is started, and for how long at most."""

    instance_type: str
    compared: tuple[str, ...]
    minutes: int

    def most_usd(self, book: PriceBook) -> float:
        """Both lanes for all of the time, each compared instance until well after its end, and
        every call taking as long as it may.

        Traffic, storage and logs of an hour or two are not in it: cents at most.

        Raises:
            CostError: the book has no price for a type.
        """
        hours = (self.minutes + LAST_STEP_MINUTES) / 60
        lanes = Standing(
            instance_type=self.instance_type,
            gpu=Catalog.load()[self.instance_type].compute == "gpu",
        )
        compared = sum(
            most_instance_usd(
                Row(name, Kind.INSTANCE, usd_per_hour=book.instance(name).usd),
                minutes=COMPARED_MINUTES + LAST_STEP_MINUTES,
                book=book,
            )
            for name in self.compared
        )
        calls = most_function_usd(FunctionSetting(WARM.memory_mb), calls=CALLS, book=book)
        return lanes.usd_per_hour(book) * hours + compared + calls


def check_budget(most_usd: float, *, max_usd: float | None, confirmed: bool) -> None:
    """Refuse what could cost more than allowed.

    Raises:
        BudgetError: there is no budget and no --yes; or the most is above the budget.
    """
    if max_usd is None and not confirmed:
        raise BudgetError(
            f"A rehearsal starts machines on AWS and can cost up to ${most_usd:.2f}.",
            remedy="Give a budget (--max-usd 1), or --yes to go without one. It costs nothing on "
            "the embedded cloud: --cloud local.",
        )
    if max_usd is not None and most_usd > max_usd:
        raise BudgetError(
            f"A rehearsal can cost up to ${most_usd:.2f}, the budget is ${max_usd:.2f}.",
            remedy="Raise --max-usd, name a cheaper --instance-type, or shorten --minutes.",
        )
