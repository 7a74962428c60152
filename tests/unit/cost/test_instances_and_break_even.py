"""EC2's bill, break-even points and mixes, against cases calculated by hand."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stacks.catalog import Catalog
from visionstack.cost.bill import usd_per_million
from visionstack.cost.breakeven import crossings, linear_break_even
from visionstack.cost.errors import CostInputError, NoPriceError, PriceBookError
from visionstack.cost.instances import (
    FLAT,
    OFFICE,
    Fleet,
    busiest_rate,
    fleet_bill,
    instances_needed,
    steps,
)
from visionstack.cost.mix import cheapest_mix, mix_of, split
from visionstack.cost.prices import BOOKS, list_prices, load
from visionstack.cost.recalculated import discrepancies
from visionstack.cost.serverless import Function, function_bill

BOOK = load("2026-11-21")
BARE = {"load_balancer": False, "disk_gb": 0, "public_addresses": 0}


def fleet(**changes: object) -> Fleet:
    values: dict[str, object] = {
        "instance_type": "g4dn.xlarge",
        "images_per_second": 100.0,
        "usd_per_hour": 0.5,
        "utilisation": 0.5,
        **BARE,
        **changes,
    }
    return Fleet(**values)  # type: ignore[arg-type]


def test_a_million_images_cost_the_hours_they_take() -> None:
    """By hand: at 100 images/s a million takes 10,000 s = 2.7778 h; at 0.36 USD an hour 1.00."""
    assert usd_per_million(images_per_second=100, usd_per_hour=0.36) == pytest.approx(1.0)
    with pytest.raises(ValueError, match="rate"):
        usd_per_million(images_per_second=0, usd_per_hour=1)


def test_instances_are_bought_for_the_busiest_hour() -> None:
    """By hand: 50 images/s planned an instance; 8.64 million a day are 100 a second: 2, then 3."""
    assert instances_needed(fleet(), requests_per_day=8_640_000) == 2
    assert instances_needed(fleet(), requests_per_day=8_640_001) == 3
    assert busiest_rate(86_400) == pytest.approx(1.0)
    # nine of ten requests fall into nine office hours
    office = busiest_rate(86_400, profile=OFFICE)
    assert office == pytest.approx(24 / (9 + 15 * 0.05))


def test_a_burst_needs_instances_of_its_own() -> None:
    """By hand: 500 at once within 1 s at 100 images/s an instance: 5."""
    assert instances_needed(fleet(burst=500), requests_per_day=10) == 5
    assert instances_needed(fleet(burst=500, deadline_seconds=2.5), requests_per_day=10) == 2


def test_a_fleet_that_is_on_half_the_day_packs_its_requests_into_it() -> None:
    assert instances_needed(fleet(hours_a_day=12), requests_per_day=4_320_001) == 3


def test_the_bill_of_a_fleet_is_the_sum_of_its_parts() -> None:
    """By hand, a month of 730 h: 2 x 365 + NLB 16.425 + 0.36 NLCU (0.36 GB/h) x 730 x 0.006.

    8.64 million a day are 360,000 an hour x 1,000 bytes = 0.36 GB; disks 2 x 30 x 0.08 = 4.80;
    addresses, two instances and a load balancer in two zones: (2 + 2) x 730 x 0.005 = 14.60.
    """
    bill = fleet_bill(
        fleet(load_balancer=True, disk_gb=30, public_addresses=1, bytes_per_request=1000),
        requests_per_day=8_640_000,
        book=BOOK,
    )
    assert bill.item("g4dn.xlarge hours") == pytest.approx(730.0)
    assert bill.item("load balancer hours") == pytest.approx(16.425)
    assert bill.item("load balancer capacity") == pytest.approx(0.36 * 730 * 0.006)
    assert bill.item("EBS gp3") == pytest.approx(4.80)
    assert bill.item("public IPv4") == pytest.approx(14.60)


def test_a_gpu_type_pays_for_the_larger_disk_that_it_is_deployed_with() -> None:
    """By hand, 0.08 USD a GB-month: 30 GB behind a CPU, 100 GB behind an NVIDIA GPU."""
    for name, usd in (("c7i.xlarge", 2.40), ("g6.xlarge", 8.00)):
        bill = fleet_bill(
            fleet(instance_type=name, disk_gb=None), requests_per_day=1_000, book=BOOK
        )
        assert bill.item("EBS gp3") == pytest.approx(usd)


def test_new_tls_connections_can_be_what_a_load_balancer_charges_for() -> None:
    """By hand: 100 new connections a second are 2 NLCU by TLS (50 each)."""
    one = fleet(load_balancer=True, bytes_per_request=1, requests_per_connection=1)
    bill = fleet_bill(one, requests_per_day=100 * 86_400, book=BOOK)
    assert bill.item("load balancer capacity") == pytest.approx(2 * 730 * 0.006)


def test_the_list_prices_a_type_and_an_unknown_one_has_no_price() -> None:
    price = BOOK.instance("g6.xlarge")
    assert price.usd == pytest.approx(0.8048)
    assert price.date.isoformat() == "2026-07-20"
    with pytest.raises(NoPriceError, match=r"g6\.xlrage.*did you mean .*g6\.xlarge"):
        BOOK.instance("g6.xlrage")


def test_every_type_that_can_be_deployed_has_a_price_and_no_other() -> None:
    assert set(list_prices()) == set(Catalog.load())


def test_the_paper_book_holds_table_2_and_nothing_later() -> None:
    book = load("2019")
    assert book.instance("p2.8xlarge").usd == 11.72
    with pytest.raises(NoPriceError, match=r"g6\.xlarge"):
        book.instance("g6.xlarge")


def test_the_papers_printed_figures_do_not_follow_from_its_own_prices() -> None:
    million, ten_thousand, break_even = discrepancies()
    assert (million.printed, ten_thousand.printed, break_even.printed) == (7.25, 0.0725, 1_000_000)
    assert million.recomputed == pytest.approx(6.45)
    assert ten_thousand.recomputed == pytest.approx(0.0645)
    assert math.ceil(break_even.recomputed) == 511_628
    # 1.45 USD for a million single units of 100 ms, the step the paper shows, does follow
    single = function_bill(
        Function(memory_mb=768, seconds=0.1), requests_per_month=1e6, book=load("2019")
    )
    assert single.usd == pytest.approx(1.45)


def test_the_break_even_is_the_first_request_that_makes_the_other_side_cheaper() -> None:
    book = load("2019")
    function = Function(memory_mb=768, seconds=0.5)
    server = book.instance("paper-server").usd * 24
    found = crossings(
        lambda n: function_bill(function, requests_per_month=n, book=book, days=1).usd,
        lambda _: server,
        names=("Lambda", "EC2"),
        up_to=10_000_000,
    )
    assert [(c.requests_per_day, c.cheaper) for c in found] == [(511_628, "EC2")]
    assert found[0].usd_per_day == pytest.approx(3.3)


def test_a_staircase_is_crossed_again_after_each_step() -> None:
    """By hand: a request costs 1; the fleet 10 up to 12 requests, then 20 up to 24, then 30.

    11 > 10: the fleet from 11; at 13 it costs 20 > 13: Lambda; from 21 the fleet; at 25 Lambda.
    """
    found = crossings(
        lambda n: n,
        lambda n: 10 * math.ceil(n / 12),
        names=("Lambda", "EC2"),
        up_to=30,
        steps=[13, 25],
    )
    assert [(c.requests_per_day, c.cheaper) for c in found] == [
        (11, "EC2"),
        (13, "Lambda"),
        (21, "EC2"),
        (25, "Lambda"),
    ]


@settings(max_examples=60, deadline=None)
@given(
    per_request=st.floats(0.01, 5),
    flat=st.floats(1, 500),
    width=st.integers(3, 400),
)
def test_every_crossing_is_where_a_count_of_all_requests_finds_it(
    per_request: float, flat: float, width: int
) -> None:
    def first(n: float) -> float:
        return per_request * n

    def second(n: float) -> float:
        return flat * math.ceil(n / width)

    up_to = 1200
    expected, leader = [], 0 if first(1) <= second(1) else 1
    for n in range(1, up_to + 1):
        costs = (first(n), second(n))
        if costs[leader] > costs[1 - leader]:
            leader = 1 - leader
            expected.append((n, ("Lambda", "EC2")[leader]))
    edges = list(range(width + 1, up_to + 1, width))
    found = crossings(first, second, names=("Lambda", "EC2"), up_to=up_to, steps=edges)
    assert [(c.requests_per_day, c.cheaper) for c in found] == expected


def test_a_request_that_costs_nothing_never_reaches_the_servers_price() -> None:
    assert linear_break_even(usd_per_day=3.3, usd_per_request=0) == math.inf


def test_the_steps_of_a_fleet_are_where_it_needs_one_more() -> None:
    edges = steps(fleet(), up_to=20_000_000)
    assert edges[:2] == [4_320_001, 8_640_001]
    for edge in edges:
        more = instances_needed(fleet(), requests_per_day=edge)
        assert more == instances_needed(fleet(), requests_per_day=edge - 1) + 1


def test_a_mix_serves_every_request_once() -> None:
    served, rest = split(fleet(profile=OFFICE), count=1, requests_per_day=8_640_000)
    assert served + rest == pytest.approx(8_640_000)
    assert 0 < rest < 8_640_000
    assert split(fleet(), count=0, requests_per_day=100.0) == (0.0, 100.0)


def test_the_cheapest_mix_is_never_dearer_than_either_side_alone() -> None:
    function = Function(memory_mb=768, seconds=0.1)
    group = fleet(load_balancer=True, minimum=0, profile=OFFICE)
    for requests in (1_000, 3_000_000, 12_000_000):
        best = cheapest_mix(group, function, requests_per_day=requests, book=BOOK)
        count = instances_needed(group, requests_per_day=requests)
        for alone in (0, count):
            other = mix_of(group, function, count=alone, requests_per_day=requests, book=BOOK)
            assert best.bill.usd <= other.bill.usd + 1e-9
        assert best.on_fleet + best.on_lambda == pytest.approx(requests)


def test_few_requests_go_to_lambda_and_a_steady_flood_to_instances() -> None:
    """By hand: 4.32 million requests cost 6.26 USD on Lambda, a day of the instance 2.40."""
    function = Function(memory_mb=768, seconds=0.1)
    cheap = fleet(usd_per_hour=0.1, minimum=0, profile=FLAT)
    few = cheapest_mix(cheap, function, requests_per_day=100, book=BOOK)
    many = cheapest_mix(cheap, function, requests_per_day=43_200_000, book=BOOK)
    assert few.instances == 0
    assert many.instances == 10
    assert many.on_lambda < 1


def test_a_mix_that_needs_no_lambda_pays_for_none_held_warm() -> None:
    warmed = Function(memory_mb=768, seconds=0.1, cold_start="warmer", environments=5)
    group = fleet(usd_per_hour=0.1, minimum=0)
    requests = 12_345_677.0
    needed = instances_needed(group, requests_per_day=requests)
    mix = mix_of(group, warmed, count=needed, requests_per_day=requests, book=BOOK)
    assert (mix.on_lambda, mix.bill.item("wake-up requests")) == (0, 0)
    assert mix.on_fleet == requests


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        ({"images_per_second": 0.0}, "rate"),
        ({"utilisation": 0.0}, "utilisation"),
        ({"hours_a_day": 25.0}, "25"),
        ({"burst": -1}, "negative"),
        ({"usd_per_hour": -1.0}, "negative"),
    ],
)
def test_a_fleet_that_cannot_be_is_refused(wrong: dict[str, object], word: str) -> None:
    with pytest.raises(CostInputError, match=word):
        fleet(**wrong)


def test_a_profile_without_24_hours_is_refused() -> None:
    with pytest.raises(CostInputError, match="24"):
        busiest_rate(10, profile=(1.0, 2.0))


def test_every_price_names_its_source_and_its_date() -> None:
    for path in BOOKS.glob("*.json"):
        book = load(path.stem)
        for price in (*book.prices.values(), *book.ec2.values()):
            assert price.source
            assert price.date.year >= 2019
        assert book.dates()[0] <= book.dates()[1]


def test_an_unknown_or_damaged_book_is_refused_by_name(tmp_path: object) -> None:
    from pathlib import Path

    with pytest.raises(NoPriceError, match="'1999'"):
        load("1999")
    folder = Path(str(tmp_path))
    (folder / "2020-01-01.json").write_text('{"name": "2020-01-01"}')
    with pytest.raises(PriceBookError, match="cannot be read"):
        load("2020-01-01", folders=[folder])
