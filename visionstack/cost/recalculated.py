"""The serverless paper's cost figures (section 4.1), recalculated from its own prices.

Its printed cost of a million requests of 500 ms, 7.25 USD, charges the fee of a request for each of
the five units of 100 ms; its break-even of "about 1,000,000 a day" follows from neither figure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from visionstack.cost.breakeven import linear_break_even
from visionstack.cost.prices import load
from visionstack.cost.serverless import Function, request_usd
from visionstack.paper_reference import reference

PAPER_FUNCTION: Final = Function(memory_mb=768, seconds=0.5)
"""What section 4.1 assumes: 768 MB, half a second a request."""


@dataclass(frozen=True)
class Discrepancy:
    """A printed figure that does not follow from the paper's own prices."""

    what: str
    printed: float
    recomputed: float
    unit: str
    why: str


def discrepancies() -> list[Discrepancy]:
    """The printed cost figures beside what the paper's prices give."""
    prices = load("2019")
    printed = reference()["serverless_2020"]["cost_points"]
    one = request_usd(PAPER_FUNCTION, prices)
    server = prices.instance("paper-server").usd * 24
    unit_fee = prices["lambda.request"].usd
    return [
        Discrepancy(
            what="a million requests of 500 ms at 768 MB",
            printed=printed["one_million_requests_of_500_ms_usd_as_printed"],
            recomputed=one * 1e6,
            unit="USD",
            why=(
                "the printed figure charges the request fee for each of the five 100 ms units: "
                f"5 x (0.00000125 + {unit_fee:.7f}) instead of 5 x 0.00000125 + {unit_fee:.7f}"
            ),
        ),
        Discrepancy(
            what="10,000 requests a day",
            printed=printed["ten_thousand_a_day_usd"]["lambda_as_printed"],
            recomputed=one * 1e4,
            unit="USD a day",
            why="the same fee counted five times",
        ),
        Discrepancy(
            what="break-even with a server of 3.3 USD a day",
            printed=printed["break_even_requests_a_day_as_printed"],
            recomputed=linear_break_even(usd_per_day=server, usd_per_request=one),
            unit="requests a day",
            why=(
                "3.3 / 0.00000645; even with the printed 7.25 a million it would be "
                f"{linear_break_even(usd_per_day=server, usd_per_request=7.25e-6):,.0f}"
            ),
        ),
    ]
