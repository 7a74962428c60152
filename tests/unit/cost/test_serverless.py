"""Lambda's bill against AWS's published examples and cases calculated by hand.

The examples are those of https://aws.amazon.com/lambda/pricing/ (US East, N. Virginia), as stored
in a public copy of that page read on 2026-11-21; AWS prints them in cents.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from visionstack.cost.bill import Bill
from visionstack.cost.errors import CostInputError, NoPriceError
from visionstack.cost.prices import load
from visionstack.cost.serverless import Function, function_bill, request_usd

BOOK = load("2026-11-21")
CENT = 0.005


def test_the_mobile_backend_example_costs_2_dollars_73() -> None:
    """Example 1: 3 million requests of 120 ms at 1536 MB, x86, free tier: 2.33 + 0.40."""
    bill = function_bill(
        Function(memory_mb=1536, seconds=0.120), requests_per_month=3e6, book=BOOK, free_tier=True
    )
    assert bill.item("duration") == pytest.approx(2.33, abs=CENT)
    assert bill.item("requests") == pytest.approx(0.40, abs=CENT)
    assert bill.usd == pytest.approx(2.73, abs=CENT)


def test_the_telemetry_example_costs_249_dollars_49() -> None:
    """Example 2: 7.44 million requests of 2 s at 1 GB, free tier not taken: 1.49 + 248.00."""
    bill = function_bill(
        Function(memory_mb=1024, seconds=2.0), requests_per_month=7_440_000, book=BOOK
    )
    assert bill.item("requests") == pytest.approx(1.49, abs=CENT)
    assert bill.item("duration") == pytest.approx(248.00, abs=CENT)
    assert bill.usd == pytest.approx(249.49, abs=CENT)


def test_the_support_ticket_example_pays_for_storage_above_512_mb() -> None:
    """Example 3: 6 million requests of 280 ms, 4096 MB, 2048 MB of /tmp: 105.33 + 1 + 0.08."""
    bill = function_bill(
        Function(memory_mb=4096, seconds=0.280, storage_mb=2048),
        requests_per_month=6e6,
        book=BOOK,
        free_tier=True,
    )
    assert bill.item("duration") == pytest.approx(105.33, abs=CENT)
    assert bill.item("ephemeral storage") == pytest.approx(0.08, abs=CENT)
    assert bill.usd == pytest.approx(106.41, abs=CENT)


def test_the_cyber_monday_example_of_provisioned_concurrency_costs_32_dollars_26() -> None:
    """Provisioned example 2: 7 x 4096 MB for one day, 2 million requests: 10.08 + 21.78 + 0.40."""
    function = Function(memory_mb=4096, seconds=0.280, cold_start="provisioned", environments=7)
    bill = function_bill(function, requests_per_month=2e6, book=BOOK, days=1)
    assert bill.item("provisioned concurrency") == pytest.approx(10.08, abs=CENT)
    assert bill.item("provisioned duration") == pytest.approx(21.78, abs=CENT)
    assert bill.usd == pytest.approx(32.26, abs=CENT)


def test_the_app_launch_example_of_provisioned_concurrency_costs_19_dollars_96() -> None:
    """Provisioned example 1: 8 hours of 100 x 1536 MB for half a million of 3 million requests."""
    launch = function_bill(
        Function(
            memory_mb=1536,
            seconds=0.100,
            cold_start="provisioned",
            environments=100,
            provisioned_hours_a_day=8,
            provisioned_share=1.0,
        ),
        requests_per_month=500_000,
        book=BOOK,
        days=1,
    )
    rest = function_bill(
        Function(memory_mb=1536, seconds=0.120),
        requests_per_month=2_500_000,
        book=BOOK,
        free_tier=True,
    )
    assert launch.item("provisioned concurrency") == pytest.approx(18.00, abs=CENT)
    assert launch.item("provisioned duration") == pytest.approx(0.73, abs=CENT)
    assert rest.item("duration") == pytest.approx(0.83, abs=CENT)
    # AWS takes the million free requests off the sum of both, this sum off the rest alone.
    requests = launch.item("requests") + rest.item("requests")
    assert requests == pytest.approx(0.40, abs=CENT)
    assert launch.usd + rest.usd == pytest.approx(19.96, abs=2 * CENT)


def test_the_snapstart_example_costs_263_dollars_92() -> None:
    """SnapStart example: telemetry with 1 % restores: 1.49 + 248.00 + 4.03 + 10.40."""
    function = Function(
        memory_mb=1024, seconds=2.0, cold_share=0.01, init_seconds=4.0, cold_start="snapstart"
    )
    bill = function_bill(function, requests_per_month=7_440_000, book=BOOK, days=31)
    assert bill.item("SnapStart cache") == pytest.approx(4.03, abs=CENT)
    assert bill.item("SnapStart restore") == pytest.approx(10.40, abs=CENT)
    assert bill.item("INIT") == 0
    assert bill.usd == pytest.approx(263.92, abs=CENT)


def test_init_is_billed_today_and_was_not_in_2019() -> None:
    """By hand: 1 % of a million requests x 3 s x 0.75 GB = 22,500 GB-s x 0.0000166667 = 0.375."""
    function = Function(memory_mb=768, seconds=0.1, init_seconds=3.0, cold_share=0.01)
    today = function_bill(function, requests_per_month=1e6, book=BOOK)
    then = function_bill(function, requests_per_month=1e6, book=load("2019"))
    assert today.item("INIT") == pytest.approx(0.375, abs=1e-6)
    assert then.item("INIT") == 0


def test_arm64_is_a_fifth_cheaper_by_the_second_and_the_same_by_the_request() -> None:
    x86 = function_bill(Function(memory_mb=1024, seconds=1), requests_per_month=1e6, book=BOOK)
    arm = function_bill(
        Function(memory_mb=1024, seconds=1, arch="arm64"), requests_per_month=1e6, book=BOOK
    )
    assert arm.item("duration") / x86.item("duration") == pytest.approx(0.8, abs=1e-4)
    assert arm.item("requests") == x86.item("requests")


def test_durations_are_rounded_up_to_a_millisecond_today_and_to_a_hundred_in_2019() -> None:
    assert BOOK.rules.billed_seconds(0.1231) == pytest.approx(0.124)
    assert load("2019").rules.billed_seconds(0.1231) == pytest.approx(0.2)
    assert BOOK.rules.billed_seconds(0.5) == pytest.approx(0.5)
    assert BOOK.rules.billed_seconds(0.0) == 0


def test_large_months_reach_the_second_tier() -> None:
    """By hand: 7 billion GB-s = 6e9 x 0.0000166667 + 1e9 x 0.000015 = 100,000.2 + 15,000."""
    bill = function_bill(Function(memory_mb=1024, seconds=1), requests_per_month=7e9, book=BOOK)
    assert bill.item("duration") == pytest.approx(115_000.2, abs=0.01)


def test_the_warmer_pays_for_its_wake_ups() -> None:
    """By hand: 5 wake-ups of 0.4 s at 0.75 GB every 5 minutes for 30 days: 43,200 wake-ups.

    43,200 x 0.0000002 = 0.00864; 43,200 x 0.4 x 0.75 = 12,960 GB-s = 0.216; the warmer itself:
    8,640 rounds x (0.0000002 + 0.4 x 0.5 x 0.0000166667) = 0.0305.
    """
    function = Function(memory_mb=768, seconds=0.1, cold_start="warmer", environments=5)
    bill = function_bill(function, requests_per_month=0, book=BOOK, days=30)
    assert bill.item("wake-up requests") == pytest.approx(0.00864, abs=1e-6)
    assert bill.item("wake-up duration") == pytest.approx(0.216, abs=1e-5)
    assert bill.item("warmer") == pytest.approx(0.0305, abs=1e-4)


def test_the_papers_warm_pool_costs_about_what_the_paper_says() -> None:
    """Section 4.2: about 0.3 USD a month for a call every 5 minutes; 5 environments of 400 ms."""
    function = Function(memory_mb=768, seconds=0.5, cold_start="warmer", environments=5)
    bill = function_bill(function, requests_per_month=0, book=load("2019"), days=30)
    assert bill.usd == pytest.approx(0.225, abs=0.001)


def test_api_gateway_and_s3_are_billed_by_the_request() -> None:
    """By hand: 2 million x (3.50 + 5.00 PUT + 0.40 GET) a million."""
    function = Function(
        memory_mb=768, seconds=0.1, gateway="rest", puts_per_request=1, gets_per_request=1
    )
    bill = function_bill(function, requests_per_month=2e6, book=BOOK)
    assert bill.item("API Gateway") == pytest.approx(7.00)
    assert bill.item("S3 PUT") == pytest.approx(10.00)
    assert bill.item("S3 GET") == pytest.approx(0.80)


def test_rest_api_calls_get_cheaper_above_333_million() -> None:
    """By hand: 333 x 3.50 + 67 x 2.80 = 1,353.10 for 400 million."""
    assert BOOK["gateway.rest"].cost(400e6) == pytest.approx(1353.10)


def test_one_request_is_free_of_what_stands_whether_it_comes_or_not() -> None:
    function = Function(memory_mb=768, seconds=0.5, cold_start="warmer", environments=5)
    plain = Function(memory_mb=768, seconds=0.5)
    assert request_usd(function, BOOK) == pytest.approx(request_usd(plain, BOOK))


def test_a_day_is_a_share_of_the_month() -> None:
    bill = function_bill(Function(memory_mb=1024, seconds=1), requests_per_month=1e6, book=BOOK)
    assert bill.usd_per_day * 365 / 12 == pytest.approx(bill.usd)
    assert isinstance(bill + bill, Bill)
    assert (bill + bill).usd == pytest.approx(2 * bill.usd)


def test_a_memory_size_the_papers_do_not_price_is_refused_by_name() -> None:
    with pytest.raises(NoPriceError, match="1024 MB"):
        function_bill(Function(memory_mb=1024, seconds=1), requests_per_month=1, book=load("2019"))


def test_the_papers_book_has_no_api_gateway() -> None:
    with pytest.raises(NoPriceError, match=r"gateway\.rest"):
        function_bill(
            Function(memory_mb=768, seconds=1, gateway="rest"),
            requests_per_month=1,
            book=load("2019"),
        )


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        ({"memory_mb": 64}, "64 MB"),
        ({"memory_mb": 20_000}, "20000 MB"),
        ({"seconds": -1.0}, "negative"),
        ({"cold_share": 1.5}, "1.5"),
        ({"storage_mb": 100}, "100 MB"),
        ({"storage_mb": 1024, "cold_start": "snapstart"}, "SnapStart"),
        ({"warm_interval_minutes": 0.0}, "interval"),
    ],
)
def test_a_function_that_cannot_be_is_refused(wrong: dict[str, object], word: str) -> None:
    values: dict[str, object] = {"memory_mb": 768, "seconds": 0.1, **wrong}
    with pytest.raises(CostInputError, match=word):
        Function(**values)  # type: ignore[arg-type]


def test_fewer_than_no_requests_are_refused() -> None:
    with pytest.raises(CostInputError, match="-5"):
        function_bill(Function(memory_mb=768, seconds=0.1), requests_per_month=-5, book=BOOK)


def test_a_historical_book_of_any_name_has_only_its_own_prices() -> None:
    book = replace(load("2019"), name="1999")
    with pytest.raises(NoPriceError, match="1999"):
        book.instance("c7i.xlarge")
    assert replace(book, historical=False).instance("c7i.xlarge").usd > 0


def test_provisioned_for_part_of_the_day_serves_that_part_of_the_requests() -> None:
    """By hand, 2 x 1 GB for 6 of 24 hours of 30 days, 4 million requests of 0.5 s, evenly spread.

    Held: 2 x 6 x 30 x 3600 = 1,296,000 GB-s x 0.0000041667 = 5.40. A quarter of the requests at
    0.0000097222: 500,000 GB-s = 4.8611; the others at 0.0000166667: 1,500,000 GB-s = 25.00.
    """
    function = Function(
        memory_mb=1024,
        seconds=0.5,
        cold_start="provisioned",
        environments=2,
        provisioned_hours_a_day=6,
    )
    bill = function_bill(function, requests_per_month=4e6, book=BOOK, days=30)
    assert bill.item("provisioned concurrency") == pytest.approx(5.40, abs=0.001)
    assert bill.item("provisioned duration") == pytest.approx(4.8611, abs=0.0001)
    assert bill.item("duration") == pytest.approx(25.00, abs=0.001)
