"""EC2's side of the model: how many instances a load needs, and what they cost.

A load is a number of requests a day and how they spread over its 24 hours. The instances are
bought for the busiest hour, or for the burst that must be answered within a deadline.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from stacks.catalog import Catalog
from visionstack.cost.bill import DAYS_A_MONTH, Bill, Item
from visionstack.cost.errors import CostInputError
from visionstack.cost.prices import PriceBook

FLAT: Final = (1.0,) * 24
OFFICE: Final = tuple(1.0 if 9 <= hour < 18 else 0.05 for hour in range(24))
EVENING: Final = tuple(
    1.0 if 18 <= hour < 23 else 0.4 if 8 <= hour < 18 else 0.08 for hour in range(24)
)
PROFILES: Final = {"flat": FLAT, "office": OFFICE, "evening": EVENING}
"""Relative load of the hours of a day: shapes to calculate with, not measurements."""

_LCU_BYTES_AN_HOUR: Final = 1e9
_LCU_NEW_CONNECTIONS: Final = 50


@dataclass(frozen=True, kw_only=True)
class Fleet:
    """Instances of one type behind a load balancer, and the rate one of them was measured at."""

    instance_type: str
    images_per_second: float
    """Of one instance, as measured."""
    usd_per_hour: float | None = None
    """A spot price, or any other; None: on demand, from the price book."""
    utilisation: float = 0.7
    """Share of the measured rate that is planned with, so that queues stay short."""
    hours_a_day: float = 24.0
    minimum: int = 1
    burst: int = 0
    """Requests at the same instant that must all be answered within `deadline_seconds`."""
    deadline_seconds: float = 1.0
    load_balancer: bool = True
    bytes_per_request: float = 100_000
    requests_per_connection: float = 1000
    disk_gb: int | None = None
    """Of each instance; None: what the streaming lane gives the type, 0: none is paid for."""
    public_addresses: int = 1
    """Public IPv4 addresses an instance, and one for each zone of the load balancer."""
    zones: int = 2
    """Availability zones of the load balancer; 2 is what the streaming lane deploys."""
    profile: tuple[float, ...] = FLAT
    """Relative load of the hours of its day."""

    def __post_init__(self) -> None:
        if self.images_per_second <= 0:
            raise CostInputError(
                f"A fleet of {self.instance_type} needs a rate above 0 images a second, "
                f"not {self.images_per_second}."
            )
        if not 0 < self.utilisation <= 1:
            raise CostInputError(f"The utilisation {self.utilisation} is not within 0 and 1.")
        if not 0 < self.hours_a_day <= 24:
            raise CostInputError(f"A day has no {self.hours_a_day} hours.")
        if self.minimum < 0 or self.burst < 0 or self.deadline_seconds <= 0:
            raise CostInputError("A minimum, a burst or a deadline is negative.")
        if self.usd_per_hour is not None and self.usd_per_hour < 0:
            raise CostInputError(f"A price of {self.usd_per_hour} USD an hour is negative.")

    @property
    def capacity(self) -> float:
        """Images a second that one instance is planned to serve."""
        return self.images_per_second * self.utilisation


def busiest_rate(
    requests_per_day: float, *, profile: tuple[float, ...] = FLAT, hours: float = 24
) -> float:
    """Requests a second in the busiest hour; a fleet that is on for less packs them into it."""
    if len(profile) != 24 or min(profile) < 0 or not sum(profile):
        raise CostInputError("A profile has 24 weights, none negative, and not all zero.")
    share = max(profile) / sum(profile)
    return requests_per_day * max(share, 1 / hours) / 3600


def instances_needed(fleet: Fleet, *, requests_per_day: float) -> int:
    """How many instances serve the busiest hour and the burst."""
    rate = busiest_rate(requests_per_day, profile=fleet.profile, hours=fleet.hours_a_day)
    by_rate = math.ceil(rate / fleet.capacity - 1e-9)
    by_burst = math.ceil(fleet.burst / (fleet.images_per_second * fleet.deadline_seconds) - 1e-9)
    return max(fleet.minimum, by_rate, by_burst)


def steps(fleet: Fleet, *, up_to: float, most: int = 2000) -> list[int]:
    """Requests a day at which one more instance is needed, up to `up_to`."""
    per_request = busiest_rate(1.0, profile=fleet.profile, hours=fleet.hours_a_day)
    found = []
    for count in range(1, most):
        at = math.floor(count * fleet.capacity / per_request + 1e-6) + 1
        if at > up_to:
            break
        found.append(at)
    return found


def fleet_bill(
    fleet: Fleet,
    *,
    requests_per_day: float,
    book: PriceBook,
    count: int | None = None,
    days: float = DAYS_A_MONTH,
) -> Bill:
    """The month's bill of a fleet; `count` overrides the number of instances.

    Raises:
        NoPriceError: the book lacks a price the fleet needs.
    """
    if requests_per_day < 0:
        raise CostInputError(f"{requests_per_day} requests a day are fewer than none.")
    number = instances_needed(fleet, requests_per_day=requests_per_day) if count is None else count
    hours = fleet.hours_a_day * days
    price = fleet.usd_per_hour
    if price is None:
        price = book.instance(fleet.instance_type).usd
    items = [Item(f"{fleet.instance_type} hours", number * hours, "hours", number * hours * price)]
    if fleet.load_balancer:
        items += _load_balancer(fleet, requests_per_day, book, hours)
    disk_gb = root_gib(fleet.instance_type) if fleet.disk_gb is None else fleet.disk_gb
    if disk_gb:
        disk = number * disk_gb * hours / (24 * DAYS_A_MONTH)
        items.append(book.item("EBS gp3", disk, "GB-months", "ebs.gp3_gb_month"))
    if fleet.public_addresses:
        addresses = number * fleet.public_addresses * hours
        if fleet.load_balancer:
            addresses += fleet.zones * hours
        items.append(book.item("public IPv4", addresses, "hours", "ipv4.hour"))
    return Bill.of(items, days=days)


def root_gib(instance_type: str) -> int:
    """The disk that the streaming lane gives a type; a CPU type's for one it does not know."""
    catalog = Catalog.load()
    return catalog[instance_type].root_volume_gib if instance_type in catalog else 30


def _load_balancer(
    fleet: Fleet, requests_per_day: float, book: PriceBook, hours: float
) -> list[Item]:
    """An NLCU is the largest of 1 GB an hour and 50 new TLS connections a second.

    Source: Elastic Load Balancing pricing, Network Load Balancer.
    """
    per_hour = requests_per_day / fleet.hours_a_day
    by_bytes = per_hour * fleet.bytes_per_request / _LCU_BYTES_AN_HOUR
    connections = per_hour / max(fleet.requests_per_connection, 1) / 3600
    units = max(by_bytes, connections / _LCU_NEW_CONNECTIONS) * hours
    return [
        book.item("load balancer hours", hours, "hours", "nlb.hour"),
        book.item("load balancer capacity", units, "NLCU-hours", "nlb.lcu_hour"),
    ]
