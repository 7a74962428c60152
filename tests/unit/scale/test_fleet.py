"""What many cameras take and cost, calculated by hand from AWS's own rules and prices."""

from __future__ import annotations

import math

import pytest

from visionstack.cost.prices import load
from visionstack.cost.serverless import Function
from visionstack.scale.fleet import Plan
from visionstack.scale.limits import SERVERLESS, STREAMING

BOOK = load("2026-11-21")
HOURS = 730


def plan(cameras: int, instance_type: str = "c7a.medium") -> Plan:
    return Plan(
        cameras=cameras,
        fps=1,
        frame_bytes=60_000,
        instance_type=instance_type,
        answers_a_second_and_vcpu=8.0,
        utilisation=0.7,
        call=Function(memory_mb=1769, seconds=0.061, gateway="rest"),
    )


def test_a_month_of_a_hundred_cameras() -> None:
    small = plan(100)
    # 8 frames a second at 70 % are 5 whole cameras on each instance of one processor.
    assert (small.cameras_an_instance, small.instances, small.balancers) == (5, 20, 1)
    bill = small.streaming_bill(BOOK)
    assert bill.item("c7a.medium hours") == pytest.approx(20 * HOURS * 0.05132)
    # A unit of the balancer's capacity is a GB an hour, 0.006 USD.
    gigabytes_an_hour = 100 * 60_000 * 3600 / 1e9
    assert bill.item("load balancer capacity") == pytest.approx(gigabytes_an_hour * HOURS * 0.006)
    assert bill.item("public IPv4") == pytest.approx((20 + 2) * HOURS * 0.005)
    assert bill.item("CloudWatch metrics") == pytest.approx(20 * 7 * 0.30)
    calls = small.serverless_bill(BOOK)
    assert calls.item("API Gateway") == pytest.approx(100 * 86_400 * 365 / 12 * 3.5e-6)


def test_more_targets_than_a_balancer_takes_make_more_balancers() -> None:
    """500 targets across zones, each instance one in two target groups: 250 instances."""
    assert plan(1250).balancers == 1
    assert plan(1251).balancers == 2
    hours = plan(1251).streaming_bill(BOOK).item("load balancer hours")
    assert hours == pytest.approx(2 * HOURS * 0.0225)


def test_launches_take_what_aws_says_of_its_token_bucket() -> None:
    """1,000 instances at once, and then up to two every second."""
    assert plan(5000).instances == 1000
    assert plan(5000).minutes_to_launch == 0
    assert plan(5 * 1120).minutes_to_launch == pytest.approx(1)


def test_environments_start_as_fast_as_aws_says() -> None:
    assert plan(1_000_000).demand.environments == pytest.approx(61_000)
    assert plan(1_000_000).minutes_to_warm == pytest.approx(61 * 10 / 60)


def test_what_breaks_first_breaks_at_the_number_where_its_share_is_one() -> None:
    quota = next(one for one in STREAMING if "vCPUs" in one.name)
    assert quota.used(plan(25).demand) == 1
    assert quota.used(plan(26).demand) > 1
    gateway = next(one for one in SERVERLESS if "all APIs" in one.name)
    assert gateway.used(plan(10_000).demand) == 1
    assert all(math.isfinite(one.most) and one.source for one in (*STREAMING, *SERVERLESS))


def test_a_larger_instance_has_as_many_times_the_rate_as_it_has_processors() -> None:
    assert plan(10, "c7a.8xlarge").vcpus == 32
    assert plan(10, "c7a.8xlarge").cameras_an_instance == math.floor(32 * 8 * 0.7)
