"""A mix: instances for what always comes, Lambda for what comes on top of it."""

from __future__ import annotations

from dataclasses import dataclass

from visionstack.cost.bill import DAYS_A_MONTH, Bill
from visionstack.cost.instances import Fleet, fleet_bill, instances_needed
from visionstack.cost.prices import PriceBook
from visionstack.cost.serverless import Function, function_bill


@dataclass(frozen=True)
class Mix:
    """How a day is split, and what it costs."""

    instances: int
    on_fleet: float
    """Requests a day that the instances serve."""
    on_lambda: float
    bill: Bill


def split(fleet: Fleet, *, count: int, requests_per_day: float) -> tuple[float, float]:
    """Requests a day on `count` instances, and those above their capacity, hour by hour."""
    total = sum(fleet.profile)
    hourly = count * fleet.capacity * 3600
    served = sum(min(requests_per_day * weight / total, hourly) for weight in fleet.profile)
    rest = requests_per_day - served
    # Less than half a request is what the sum of 24 fractions is off by.
    return (served, rest) if rest >= 0.5 else (requests_per_day, 0.0)


def mix_of(
    fleet: Fleet, function: Function, *, count: int, requests_per_day: float, book: PriceBook
) -> Mix:
    """The bill of `count` instances and a function for the rest.

    Without an instance there is no load balancer, and without a rest no function to hold warm.
    """
    served, rest = split(fleet, count=count, requests_per_day=requests_per_day)
    function_part = function_bill(function, requests_per_month=rest * DAYS_A_MONTH, book=book)
    if not count:
        return Mix(0, 0.0, requests_per_day, function_part)
    fleet_part = fleet_bill(fleet, requests_per_day=served, book=book, count=count)
    return Mix(count, served, rest, fleet_part + function_part if rest else fleet_part)


def cheapest_mix(
    fleet: Fleet, function: Function, *, requests_per_day: float, book: PriceBook
) -> Mix:
    """The cheapest number of instances from none to all that the busiest hour needs."""
    most = instances_needed(fleet, requests_per_day=requests_per_day)
    mixes = (
        mix_of(fleet, function, count=count, requests_per_day=requests_per_day, book=book)
        for count in range(most + 1)
    )
    return min(mixes, key=lambda mix: mix.bill.usd)
