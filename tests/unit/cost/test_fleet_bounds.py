"""Bounds, defaults and each line of a fleet's bill, by hand.

An NLCU is 1 GB an hour, 800 new TCP or 50 new TLS connections a second (Elastic Load Balancing
pricing, Network Load Balancer); a month of AWS's calculator has 730 hours. Public IPv4 addresses,
the load balancer's one in each zone among them, are 0.005 USD an hour (VPC pricing).
"""

from __future__ import annotations

from typing import Any

import pytest

from visionstack.cost.errors import CostInputError
from visionstack.cost.instances import (
    EVENING,
    FLAT,
    OFFICE,
    PROFILES,
    Fleet,
    busiest_rate,
    fleet_bill,
    instances_needed,
    root_gib,
    steps,
)
from visionstack.cost.prices import load

BOOK = load("2026-11-21")
BARE = {"load_balancer": False, "disk_gb": 0, "public_addresses": 0}
EXACTLY = 1e-9


def fleet(**changes: Any) -> Fleet:
    """100 images a second each, of which half are planned with, at half a dollar an hour."""
    return Fleet(
        **{
            "instance_type": "g4dn.xlarge",
            "images_per_second": 100.0,
            "usd_per_hour": 0.5,
            "utilisation": 0.5,
            **BARE,
            **changes,
        }
    )


def lines(one: Fleet, requests: float, **given: Any) -> dict[str, tuple[float, float]]:
    bill = fleet_bill(one, requests_per_day=requests, book=BOOK, **given)
    return {item.name: (item.quantity, item.usd) for item in bill.items}


@pytest.mark.parametrize(
    ("name", "allowed", "refused"),
    [
        ("images_per_second", (0.001, 1.0), (0.0, -1.0)),
        ("utilisation", (0.001, 1.0), (0.0, 1.001)),
        ("hours_a_day", (0.5, 24.0), (0.0, 24.001)),
        ("minimum", (0, 1), (-1,)),
        ("burst", (0, 1), (-1,)),
        ("deadline_seconds", (0.001, 1.0), (0.0, -1.0)),
        ("usd_per_hour", (0.0, 1.0), (-0.001,)),
    ],
)
def test_each_number_has_its_bounds(
    name: str, allowed: tuple[float, ...], refused: tuple[float, ...]
) -> None:
    for value in allowed:
        assert getattr(fleet(**{name: value}), name) == value
    for value in refused:
        with pytest.raises(CostInputError):
            fleet(**{name: value})


@pytest.mark.parametrize(
    ("profile", "busy", "sum_of_weights"),
    [
        # 9 to 18 at 1, the other 15 hours at 0.05.
        (OFFICE, 9, 9 + 15 * 0.05),
        # 18 to 23 at 1, 8 to 18 at 0.4, the other 9 hours at 0.08.
        (EVENING, 5, 5 + 10 * 0.4 + 9 * 0.08),
        (FLAT, 24, 24),
    ],
)
def test_a_profile_has_24_hours_of_which_so_many_are_the_busiest(
    profile: tuple[float, ...], busy: int, sum_of_weights: float
) -> None:
    assert len(profile) == 24
    assert profile.count(1.0) == busy
    assert sum(profile) == pytest.approx(sum_of_weights)
    assert busiest_rate(3600 * sum_of_weights, profile=profile) == pytest.approx(1.0)
    assert profile in PROFILES.values()


def test_office_and_evening_hours_are_where_they_belong() -> None:
    assert [hour for hour in range(24) if OFFICE[hour] == 1] == list(range(9, 18))
    assert [hour for hour in range(24) if EVENING[hour] == 1] == list(range(18, 23))
    assert [hour for hour in range(24) if EVENING[hour] == 0.4] == list(range(8, 18))


@pytest.mark.parametrize(
    "profile", [(1.0,) * 23, (1.0,) * 25, (0.0,) * 24, (1.0,) * 23 + (-0.1,), ()]
)
def test_what_is_no_profile_is_refused(profile: tuple[float, ...]) -> None:
    with pytest.raises(CostInputError, match="24 weights"):
        busiest_rate(1, profile=profile)


def test_one_busy_hour_is_a_profile_and_has_all_requests() -> None:
    assert busiest_rate(7200, profile=(1.0,) + (0.0,) * 23) == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("burst", "deadline", "needed"), [(0, 1.0, 1), (100, 1.0, 1), (101, 1.0, 2), (200, 2.0, 1),
                                      (201, 2.0, 2), (50, 0.25, 2)]
)  # fmt: skip
def test_a_burst_is_answered_within_its_deadline(burst: int, deadline: float, needed: int) -> None:
    """At the full measured rate: it is over before queues build up."""
    one = fleet(burst=burst, deadline_seconds=deadline)
    assert instances_needed(one, requests_per_day=0) == needed


def test_a_fleet_may_be_of_none_and_is_never_below_its_minimum() -> None:
    assert instances_needed(fleet(minimum=0), requests_per_day=0) == 0
    assert instances_needed(fleet(minimum=3), requests_per_day=1) == 3
    assert fleet_bill(fleet(minimum=0), requests_per_day=0, book=BOOK).usd == 0


def test_steps_are_the_first_requests_that_one_more_instance_is_for() -> None:
    """50 a second are 4,320,000 a day: the next request wants a second instance."""
    assert steps(fleet(), up_to=8_640_001) == [4_320_001, 8_640_001]
    assert steps(fleet(), up_to=8_640_000) == [4_320_001]
    assert steps(fleet(), up_to=4_320_000) == []
    assert len(steps(fleet(), up_to=1e12, most=4)) == 3


def test_the_instances_hours_of_a_month_and_of_part_of_a_day() -> None:
    assert lines(fleet(), 1)["g4dn.xlarge hours"] == pytest.approx((730, 365), rel=EXACTLY)
    half = lines(fleet(hours_a_day=12), 1, days=10, count=3)
    assert half["g4dn.xlarge hours"] == pytest.approx((360, 180), rel=EXACTLY)
    on_demand = lines(fleet(usd_per_hour=None), 1, days=1)
    price = BOOK.instance("g4dn.xlarge").usd
    assert on_demand["g4dn.xlarge hours"] == pytest.approx((24, 24 * price), rel=EXACTLY)
    assert lines(fleet(usd_per_hour=0.0), 1)["g4dn.xlarge hours"][1] == 0


def test_a_bare_fleet_has_no_other_line_and_no_requests_are_allowed() -> None:
    assert list(lines(fleet(), 0)) == ["g4dn.xlarge hours"]
    with pytest.raises(CostInputError, match="-1"):
        fleet_bill(fleet(), requests_per_day=-1, book=BOOK)


def test_disks_are_paid_for_while_they_are_there() -> None:
    """2 x 40 GB for 730 hours: 80 GB-months; for half of each day: 40."""
    assert lines(fleet(disk_gb=40), 0, count=2)["EBS gp3"] == pytest.approx((80, 6.4), rel=1e-6)
    halved = lines(fleet(disk_gb=40, hours_a_day=12), 0, count=2)
    assert halved["EBS gp3"] == pytest.approx((40, 3.2), rel=1e-6)


def test_a_types_disk_is_the_streaming_lanes_and_of_an_unknown_one_that_of_a_cpu_type() -> None:
    from stacks.catalog import Catalog

    assert root_gib("g4dn.xlarge") == Catalog.load()["g4dn.xlarge"].root_volume_gib == 100
    assert root_gib("x99.huge") == root_gib("c7i.xlarge") == 30
    assert lines(fleet(disk_gb=None), 0)["EBS gp3"][0] == pytest.approx(100)


def test_each_instance_and_each_zone_of_the_load_balancer_has_an_address() -> None:
    three = {"public_addresses": 1, "load_balancer": True, "zones": 3}
    assert lines(fleet(**three), 0, count=2)["public IPv4"] == pytest.approx(
        (5 * 730, 5 * 730 * 0.005), rel=1e-6
    )
    alone = lines(fleet(public_addresses=2), 0, count=2)
    assert alone["public IPv4"][0] == pytest.approx(4 * 730)
    assert "public IPv4" not in lines(fleet(load_balancer=True), 0)


@pytest.mark.parametrize(
    ("values", "requests", "units"),
    [
        # 24 GB a day: 1 GB an hour.
        ({"bytes_per_request": 1e6}, 24_000, 730),
        # 86,400 connections a day are 1 a second: 1/50 of a unit with TLS.
        ({"bytes_per_request": 0, "requests_per_connection": 1}, 86_400, 730 / 50),
        # A connection cannot bring less than a request.
        ({"bytes_per_request": 0, "requests_per_connection": 0.1}, 86_400, 730 / 50),
        ({"bytes_per_request": 0, "requests_per_connection": 2}, 86_400, 730 / 100),
        # In half of the day twice as many an hour, for half as many hours.
        ({"bytes_per_request": 1e6, "hours_a_day": 12}, 24_000, 730),
    ],
)
def test_a_load_balancer_charges_for_the_largest_of_its_dimensions(
    values: dict[str, Any], requests: float, units: float
) -> None:
    found = lines(fleet(load_balancer=True, **values), requests)
    hours = 730 * values.get("hours_a_day", 24) / 24
    assert found["load balancer hours"] == pytest.approx((hours, hours * 0.0225), rel=1e-6)
    assert found["load balancer capacity"] == pytest.approx((units, units * 0.006), rel=1e-6)


def test_what_is_not_said_of_a_fleet() -> None:
    """As deployed: a load balancer with TLS in two zones, one address each, 70 % planned with."""
    one = Fleet(instance_type="c7i.xlarge", images_per_second=10.0)
    assert one.capacity == pytest.approx(7.0)
    assert (one.hours_a_day, one.minimum, one.burst, one.deadline_seconds) == (24, 1, 0, 1)
    assert (one.load_balancer, one.zones, one.public_addresses) == (True, 2, 1)
    assert (one.bytes_per_request, one.requests_per_connection) == (100_000, 1000)
    addresses = lines(one, 0)["public IPv4"][0]
    assert addresses == pytest.approx(3 * 730)
