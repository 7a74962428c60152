"""Where one way of serving becomes dearer than the other: solved, not read off a plot.

Both sides are costs a day as functions of whole requests a day. Between two steps of a fleet both
are continuous and their difference changes its sign at most once, so that bisection between steps
finds every crossing exactly.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

Cost = Callable[[float], float]


@dataclass(frozen=True)
class Crossing:
    """The first whole number of requests a day at which the other side is cheaper."""

    requests_per_day: int
    usd_per_day: float
    """What the side that becomes cheaper costs there."""
    cheaper: str
    """The side that is cheaper from here on, until the next crossing."""


def crossings(
    first: Cost,
    second: Cost,
    *,
    names: tuple[str, str],
    up_to: int,
    steps: Sequence[int] = (),
) -> list[Crossing]:
    """Every change of the cheaper side between 1 and `up_to` requests a day, in order.

    `steps` are the numbers of requests a day at which either side jumps. A tie counts for the side
    that was cheaper before.
    """
    if up_to < 1:
        return []

    def crossing(at: int) -> Crossing:
        return Crossing(at, (first, second)[leader](at), names[leader])

    starts = sorted({1, *(step for step in steps if 1 < step <= up_to)})
    found: list[Crossing] = []
    leader = 0 if first(1) <= second(1) else 1
    for place, low in enumerate(starts):
        high = starts[place + 1] - 1 if place + 1 < len(starts) else up_to
        if _beaten(leader, first, second, low):  # a jump at the step itself
            leader = 1 - leader
            found.append(crossing(low))
        if _beaten(leader, first, second, high):
            at = _bisect(leader, first, second, low, high)
            leader = 1 - leader
            found.append(crossing(at))
    return found


def linear_break_even(*, usd_per_day: float, usd_per_request: float) -> float:
    """Requests a day at which a flat daily cost equals a cost a request: the papers' case."""
    return math.inf if usd_per_request <= 0 else usd_per_day / usd_per_request


def _beaten(leader: int, first: Cost, second: Cost, requests: int) -> bool:
    own, other = (first, second) if leader == 0 else (second, first)
    return own(requests) > other(requests)


def _bisect(leader: int, first: Cost, second: Cost, low: int, high: int) -> int:
    """The first request in (low, high] at which the leader is beaten; it is not at `low`."""
    while high - low > 1:
        middle = (low + high) // 2
        if _beaten(leader, first, second, middle):
            high = middle
        else:
            low = middle
    return high
