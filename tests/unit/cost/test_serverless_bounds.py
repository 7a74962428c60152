"""Bounds, defaults and quantities of Lambda's bill, to the last digit.

Bounds: the AWS Lambda quotas page (memory 128 to 10,240 MB, /tmp 512 to 10,240 MB). Prices: the
pricing page of US East (N. Virginia); each expected line is a product written out by hand.
"""

from __future__ import annotations

from typing import Any

import pytest

from visionstack.cost.errors import CostInputError
from visionstack.cost.prices import load
from visionstack.cost.serverless import Function, function_bill, request_usd

BOOK = load("2026-11-21")
X86, ARM = 0.0000166667, 0.0000133334
EXACTLY = 1e-9


def made(**values: Any) -> Function:
    return Function(**{"memory_mb": 1024, "seconds": 0.5, **values})


@pytest.mark.parametrize(
    ("name", "bounds", "outside"),
    [
        ("memory_mb", (128, 10_240), (127, 10_241)),
        ("storage_mb", (512, 10_240), (511, 10_241)),
        ("cold_share", (0.0, 1.0), (-0.001, 1.001)),
        ("seconds", (0.0, 900.0), (-0.001,)),
        ("init_seconds", (0.0, 10.0), (-0.001,)),
        ("wakeup_seconds", (0.0, 2.0), (-0.001,)),
        ("environments", (0, 1000), (-1,)),
        ("warm_interval_minutes", (0.001, 0.5, 60.0), (0.0, -1.0)),
    ],
)
def test_each_number_has_its_bounds(
    name: str, bounds: tuple[float, ...], outside: tuple[float, ...]
) -> None:
    for value in bounds:
        assert getattr(made(**{name: value}), name) == value
    for value in outside:
        with pytest.raises(CostInputError):
            made(**{name: value})


def test_snapstart_goes_with_512_mb_of_tmp_and_not_with_more() -> None:
    made(cold_start="snapstart", storage_mb=512)
    with pytest.raises(CostInputError, match="513 MB"):
        made(cold_start="snapstart", storage_mb=513)


def test_a_function_of_which_nothing_is_said_has_no_cold_starts_no_s3_and_nothing_held() -> None:
    """What is not said must not cost: the two lines of any function, and no other."""
    bill = function_bill(made(init_seconds=3.0), requests_per_month=1e6, book=BOOK)
    assert [item.name for item in bill.items] == ["requests", "duration"]
    assert bill.item("requests") == pytest.approx(0.20, rel=EXACTLY)
    assert bill.item("duration") == pytest.approx(500_000 * X86, rel=EXACTLY)


@pytest.mark.parametrize(
    ("values", "requests", "name", "quantity", "usd"),
    [
        # 1 million x 2 (1) pictures that each make two PUTs.
        ({"puts_per_request": 2.0}, 1e6, "S3 PUT", 2e6, 10.00),
        ({"gets_per_request": 3.0}, 1e6, "S3 GET", 3e6, 1.20),
        ({"gateway": "rest"}, 1e6, "API Gateway", 1e6, 3.50),
        # (2048 - 512) MB = 1.5 GB for 0.5 s x 1 million.
        ({"storage_mb": 2048}, 1e6, "ephemeral storage", 750_000, 750_000 * 3.09e-8),
        # 513 MB: 1/1024 of a GB above what is included.
        ({"storage_mb": 513}, 1e6, "ephemeral storage", 500_000 / 1024, 500_000 / 1024 * 3.09e-8),
        # 1 % of a million x 3 s x 1 GB.
        ({"init_seconds": 3.0, "cold_share": 0.01}, 1e6, "INIT", 30_000, 30_000 * X86),
        ({"arch": "arm64"}, 1e6, "duration", 500_000, 500_000 * ARM),
        ({"memory_mb": 1536}, 1e6, "duration", 750_000, 750_000 * X86),
    ],
)
def test_a_line_has_the_quantity_and_the_dollars_of_its_product(
    values: dict[str, Any], requests: float, name: str, quantity: float, usd: float
) -> None:
    bill = function_bill(made(**values), requests_per_month=requests, book=BOOK)
    (item,) = [item for item in bill.items if item.name == name]
    assert item.quantity == pytest.approx(quantity, rel=EXACTLY)
    assert item.usd == pytest.approx(usd, rel=1e-6)


def test_no_line_for_s3_that_is_not_asked() -> None:
    names = {
        item.name
        for item in function_bill(made(puts_per_request=1), requests_per_month=1, book=BOOK).items
    }
    assert "S3 PUT" in names
    assert "S3 GET" not in names


def test_only_what_provisioned_environments_do_not_serve_starts_cold() -> None:
    """Half of a million requests, 10 % of them cold, 2 s x 1 GB each: 100,000 GB-s of INIT."""
    function = made(
        cold_start="provisioned",
        environments=1,
        provisioned_share=0.5,
        init_seconds=2.0,
        cold_share=0.1,
    )
    bill = function_bill(function, requests_per_month=1e6, book=BOOK)
    assert bill.item("INIT") == pytest.approx(100_000 * X86, rel=EXACTLY)
    assert bill.item("duration") == pytest.approx(250_000 * X86, rel=EXACTLY)
    assert bill.item("provisioned duration") == pytest.approx(250_000 * 0.0000097222, rel=1e-6)
    # One GB for every second of 365/12 days.
    held = 365 / 12 * 86_400
    assert bill.item("provisioned concurrency") == pytest.approx(held * 0.0000041667, rel=1e-6)


def test_all_requests_reach_provisioned_environments_that_are_there_all_day() -> None:
    function = made(cold_start="provisioned", environments=1, init_seconds=2.0, cold_share=0.1)
    bill = function_bill(function, requests_per_month=1e6, book=BOOK)
    assert (bill.item("duration"), bill.item("INIT")) == (0, 0)


def test_the_free_tier_is_a_million_requests_and_400_000_gb_seconds() -> None:
    """1.5 million requests of 0.5 s at 1 GB: 0.5 million and 350,000 GB-s are left to pay for."""
    bill = function_bill(made(), requests_per_month=1.5e6, book=BOOK, free_tier=True)
    assert bill.item("requests") == pytest.approx(0.10, rel=EXACTLY)
    assert bill.item("duration") == pytest.approx(350_000 * X86, rel=EXACTLY)
    within = function_bill(made(), requests_per_month=8e5, book=BOOK, free_tier=True)
    assert within.usd == 0


def test_snapstart_pays_for_the_version_kept_and_each_restore() -> None:
    """A version of 2 GB for 10 days; 1 % of a million restores of 2 GB."""
    function = made(memory_mb=2048, cold_start="snapstart", cold_share=0.01)
    bill = function_bill(function, requests_per_month=1e6, book=BOOK, days=10)
    cached = 2 * 10 * 86_400
    assert bill.item("SnapStart cache") == pytest.approx(cached * 0.0000015046, rel=1e-6)
    assert bill.item("SnapStart restore") == pytest.approx(20_000 * 0.0001397998, rel=1e-6)


@pytest.mark.parametrize(("minutes", "rounds"), [(5.0, 8640), (10.0, 4320), (0.5, 86_400)])
def test_the_warmer_goes_round_once_an_interval(minutes: float, rounds: int) -> None:
    """Of 30 days; 4 environments are held for 0.4 s each, the warmer's own 512 MB as long."""
    function = made(
        memory_mb=512, cold_start="warmer", environments=4, warm_interval_minutes=minutes
    )
    bill = function_bill(function, requests_per_month=0, book=BOOK, days=30)
    quantities = {item.name: item.quantity for item in bill.items}
    assert quantities == pytest.approx(
        {
            "wake-up requests": 4 * rounds,
            "wake-up duration": 4 * rounds * 0.4 * 0.5,
            "warmer": rounds,
        },
        rel=EXACTLY,
    )
    own = rounds * 2e-7 + rounds * 0.4 * 0.5 * X86
    assert bill.item("warmer") == pytest.approx(own, rel=EXACTLY)


def test_the_papers_prices_are_by_100_ms_and_the_quantity_is_still_in_gb_seconds() -> None:
    """1,000 calls of 0.15 s are billed as 0.2 s: 2,000 x 0.000001250 at 768 MB, 150 GB-s."""
    bill = function_bill(
        made(memory_mb=768, seconds=0.15), requests_per_month=1000, book=load("2019")
    )
    (item,) = [item for item in bill.items if item.name == "duration"]
    assert item.quantity == pytest.approx(150, rel=EXACTLY)
    assert item.usd == pytest.approx(2000 * load("2019").rules.usd_per_100ms[768], rel=EXACTLY)


def test_one_warm_request_is_its_duration_its_fee_its_gateway_and_its_s3() -> None:
    function = made(gateway="rest", puts_per_request=1, gets_per_request=1)
    assert request_usd(function, BOOK) == pytest.approx(
        0.5 * X86 + 2e-7 + 3.5e-6 + 5e-6 + 4e-7, rel=1e-6
    )


def test_no_requests_are_allowed() -> None:
    assert function_bill(made(), requests_per_month=0, book=BOOK).usd == 0
