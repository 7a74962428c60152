"""The cost command's question, its prices from the Price List, and its report."""

from __future__ import annotations

import datetime
import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import NoCredentialsError
from typer.testing import CliRunner

from visionstack.cli.main import app
from visionstack.cost import inputs
from visionstack.cost.errors import CostError, CostInputError
from visionstack.cost.prices import BOOKS, load
from visionstack.cost.refresh import refresh, save
from visionstack.cost.report import Question, answer, report
from visionstack.report.figures import Figure, Kind
from visionstack.report.sections import Note, Table

BOOK = load("2026-11-21")
TODAY = datetime.date(2026, 12, 1)


def question(**changes: Any) -> Question:
    values: dict[str, Any] = {
        "book_name": "2026-11-21",
        "seconds": 0.065,
        "images_per_second": 40.0,
        "measured": None,
        "memory": 1769,
        "arch": "x86_64",
        "init_seconds": 0.0,
        "cold_share": 0.0,
        "cold_start": "none",
        "environments": 5,
        "gateway": "rest",
        "instance_type": "c7i.xlarge",
        "usd_per_hour": None,
        "burst": 0,
        "profile": "flat",
        **changes,
    }
    return inputs.question(**values)


def papers() -> Question:
    return question(
        book_name="2019",
        seconds=None,
        images_per_second=None,
        memory=None,
        gateway=None,
        instance_type=None,
    )


def test_the_papers_prices_give_the_papers_case_with_the_solved_break_even() -> None:
    found = answer(papers(), requests_per_day=10_000)
    assert [c["requests_per_day"] for c in found["break_even"]] == [511_628]
    assert found["lambda"]["usd_per_day"] == pytest.approx(0.0645)
    assert found["ec2"]["usd_per_day"] == pytest.approx(3.3)
    assert [p["printed"] for p in found["papers"]] == [7.25, 0.0725, 1_000_000]


def test_a_break_even_is_where_both_sides_cost_the_same() -> None:
    asked = question()
    (first, *_) = asked.crossings()
    at = first.requests_per_day
    assert asked.function_usd(at) > asked.fleet_usd(at)
    assert asked.function_usd(at - 1) <= asked.fleet_usd(at - 1)


def test_the_mix_is_never_dearer_than_lambda_alone() -> None:
    asked = question(profile="office")
    for requests in (100, 1e6, 2e7):
        assert asked.mix(requests).bill.usd_per_day <= asked.function_usd(requests) + 1e-9


def test_what_is_held_warm_costs_at_no_request_too() -> None:
    assert question(cold_start="provisioned").function_usd(0) > 1
    assert question().function_usd(0) == 0


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"seconds": None}, "How long"),
        ({"images_per_second": None}, "How long"),
        ({"arch": "sparc"}, "'sparc'"),
        ({"cold_start": "magic"}, "'magic'"),
        ({"gateway": "soap"}, "'soap'"),
        ({"profile": "lunar"}, "'lunar'"),
        ({"memory": 5}, "5 MB"),
    ],
)
def test_a_question_that_cannot_be_answered_is_refused_by_name(
    change: dict[str, Any], word: str
) -> None:
    with pytest.raises(CostInputError, match=word):
        question(**change)


def test_the_report_shows_no_figure_as_measured() -> None:
    shown = report(question(), requests_per_day=10_000)
    cells = [c for s in shown.sections if isinstance(s, Table) for r in s.rows for c in r.cells]
    kinds = {cell.kind for cell in cells if isinstance(cell, Figure)}
    assert kinds == {Kind.COMPUTED, Kind.PAPER}


class FakePriceList:
    """Answers get_products by group or instance type."""

    def __init__(self, answers: dict[str, list[dict[str, Any]]]) -> None:
        self.answers = answers

    def get_paginator(self, name: str) -> Any:
        assert name == "get_products"

        def paginate(**request: Any) -> list[dict[str, Any]]:
            fields = {f["Field"]: f["Value"] for f in request["Filters"]}
            key = fields.get("group") or fields["instanceType"]
            return [{"PriceList": [json.dumps(p) for p in self.answers.get(key, [])]}]

        return SimpleNamespace(paginate=paginate)


def product(*tiers: tuple[str, str]) -> dict[str, Any]:
    dimensions = {
        str(n): {"beginRange": "0", "endRange": end, "pricePerUnit": {"USD": usd}}
        for n, (end, usd) in enumerate(tiers)
    }
    return {"terms": {"OnDemand": {"sku": {"priceDimensions": dimensions}}}}


def price_list() -> FakePriceList:
    return FakePriceList(
        {
            "AWS-Lambda-Duration": [
                product(("Inf", "0.0000000000")),
                product(("Inf", "0.00002"), ("6000000000", "0.00003")),
            ],
            "AWS-Lambda-Duration-ARM": [product(("Inf", "0.00001"))],
            "AWS-Lambda-Requests": [product(("Inf", "0.0000003"))],
            "g6.xlarge": [product(("Inf", "0.9000000000"))],
        }
    )


def test_refreshed_prices_replace_the_snapshots_and_carry_their_day() -> None:
    book = refresh(
        price_list(), old=BOOK, region="us-east-1", instance_types=["g6.xlarge"], today=TODAY
    )
    assert book["lambda.x86_64.gb_second"].tiers == ((6e9, 0.00003), (math.inf, 0.00002))
    assert book["lambda.request"].date == TODAY
    assert book.instance("g6.xlarge").usd == 0.9
    assert book["nlb.hour"] == BOOK["nlb.hour"]


def test_a_refreshed_book_is_read_back_and_is_then_todays(tmp_path: Path) -> None:
    book = refresh(price_list(), old=BOOK, region="us-east-1", instance_types=[], today=TODAY)
    save(book, tmp_path)
    assert load("today", folders=[BOOKS, tmp_path]) == book


def test_a_price_that_the_list_lacks_is_named() -> None:
    with pytest.raises(CostError, match=r"g99\.huge"):
        refresh(
            price_list(), old=BOOK, region="us-east-1", instance_types=["g99.huge"], today=TODAY
        )


def test_a_price_list_out_of_reach_ends_with_a_sentence() -> None:
    class Closed:
        def get_paginator(self, name: str) -> Any:
            def paginate(**_: Any) -> Any:
                raise NoCredentialsError

            return SimpleNamespace(paginate=paginate)

    with pytest.raises(CostError, match="could not be read"):
        refresh(Closed(), old=BOOK, region="us-east-1", instance_types=[], today=TODAY)


def test_the_command_prints_json_and_writes_its_report(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["cost", "--prices", "2019", "--json", "--out", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["break_even"][0]["requests_per_day"] == 511_628
    assert (tmp_path / "report.html").exists()


@pytest.mark.parametrize(("name", "warned"), [("p2.xlarge", True), ("g4dn.xlarge", False)])
def test_a_type_that_aws_has_retired_is_said(name: str, warned: bool) -> None:
    drawn = report(question(instance_type=name), requests_per_day=100)
    notes = [one.text for one in drawn.sections if isinstance(one, Note)]
    assert any("retired" in text for text in notes) == warned
