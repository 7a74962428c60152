"""The rows of this machine, what is refused among them, and a plan at the bounds of its guards."""

from __future__ import annotations

import hashlib

import pytest

from stacks.catalog import Catalog
from tests.unit.compare.conftest import BOOK, Plan
from visionstack.compare.errors import BudgetError, RowUsageError
from visionstack.compare.plan import (
    DARKNET_ROW,
    Request,
    check_budget,
    most_function_usd,
    most_instance_usd,
)
from visionstack.compare.record import Status
from visionstack.compare.targets import FunctionSetting, Kind


def rows(plan: Plan, **request: object) -> list[tuple[str, object]]:
    return [(row.name, row.setting) for row in plan(local=True, **request).rows]


def test_what_a_request_asks_for_by_default() -> None:
    """What `visionstack compare` does without its options."""
    request = Request()
    assert (request.seconds, request.minutes, request.calls, request.cold_calls) == (10, 30, 60, 3)
    assert (request.local, request.darknet, request.names_a_row) == (False, False, False)


@pytest.mark.parametrize(
    "request_", [{"local": True}, {"darknet": True}, {"instance_types": ["g6.xlarge"]},
                 {"functions": [FunctionSetting(1769)]}]
)  # fmt: skip
def test_each_kind_of_row_is_something_to_compare(request_: dict[str, object]) -> None:
    assert Request(**request_).names_a_row  # type: ignore[arg-type]


def test_this_machine_is_one_row_of_the_fastest_unless_engines_are_named(plan: Plan) -> None:
    assert rows(plan) == [("this machine", None)]
    assert rows(plan, engines=["onnxruntime", "openvino:int8", "auto", "onnxruntime"]) == [
        ("this machine, onnxruntime", {"engine": "onnxruntime", "precision": "auto"}),
        ("this machine, openvino int8", {"engine": "openvino", "precision": "int8"}),
        ("this machine", None),
    ]
    assert rows(plan, engines=["auto:fp32"]) == [
        ("this machine, auto fp32", {"engine": "auto", "precision": "fp32"})
    ]


@pytest.mark.parametrize("text", ["abacus", "onnxruntime:fp99", "abacus:fp32", ":fp32"])
def test_an_engine_or_a_precision_that_there_is_not_is_refused(plan: Plan, text: str) -> None:
    with pytest.raises(RowUsageError, match=text):
        plan(local=True, engines=[text])


def test_held_to_less_it_is_that_row_alone_and_beside_engines_one_more(plan: Plan) -> None:
    one = ("this machine held to 1 CPU and 700 MiB", {"processors": 1, "memory_mib": 700})
    two = ("this machine held to 2 CPUs and 1024 MiB", {"processors": 2, "memory_mib": 1024})
    assert rows(plan, within=["1:700", "2:1024", "1:700"]) == [one, two]
    assert [name for name, _ in rows(plan, within=["1:700"], engines=["onnxruntime"])] == [
        "this machine, onnxruntime",
        one[0],
    ]


@pytest.mark.parametrize(
    "text", ["", "1", ":700", "1:", "0:700", "1:0", "one:700", "1:-5", "1.5:7"]
)
def test_what_is_no_size_of_a_machine_is_refused(plan: Plan, text: str) -> None:
    with pytest.raises(RowUsageError, match="--within"):
        plan(local=True, within=[text])


def test_what_an_hour_of_this_machine_costs_is_not_what_one_of_a_smaller_costs(plan: Plan) -> None:
    whole, held = plan(local=True, local_usd_per_hour=0.25, engines=["auto"], within=["1:700"]).rows
    assert (whole.usd_per_hour, whole.price_date) == (0.25, "as you gave it")
    assert (held.usd_per_hour, held.price_date) == (None, None)
    (unpriced,) = plan(local=True).rows
    assert (unpriced.usd_per_hour, unpriced.price_date) == (None, None)


def test_rows_come_in_the_order_of_what_is_asked_and_name_their_place(plan: Plan) -> None:
    record = plan(
        local=True,
        darknet=True,
        instance_types=["g6.xlarge"],
        functions=[FunctionSetting(1769)],
    )
    assert [row.kind for row in record.rows] == [
        Kind.MACHINE,
        Kind.DARKNET,
        Kind.INSTANCE,
        Kind.FUNCTION,
    ]
    assert record.rows[1].name == DARKNET_ROW
    here, there = "this machine", "AWS us-east-1"
    assert [row.where for row in record.rows] == [here, here, there, there]
    assert (record.run, record.cloud, record.region) == ("r1", "aws", "us-east-1")
    assert record.picture == "dog.jpg"
    assert record.picture_sha256 == hashlib.sha256(b"a picture").hexdigest()


def test_what_is_deployed_to_the_embedded_cloud_is_said_to_be_there(plan: Plan) -> None:
    functions = [FunctionSetting(1769)]
    record = plan(cloud="local", instance_types=["g6.xlarge"], functions=functions)
    assert [row.where for row in record.rows] == ["embedded cloud", "embedded cloud"]


def test_a_price_has_its_date(plan: Plan) -> None:
    (row,) = plan(instance_types=["g6.xlarge"]).rows
    price = BOOK.instance("g6.xlarge")
    assert (row.usd_per_hour, row.price_date) == (price.usd, price.date.isoformat())


def test_a_model_may_take_a_third_of_a_types_memory_and_not_a_byte_more(plan: Plan) -> None:
    """As `runtime.measurement.workload` asks for before it loads one: three times its files."""
    mib = Catalog.load()["c7i.xlarge"].memory_mib
    assert mib % 3 != 1
    third = mib * 2**20 // 3
    assert plan(instance_types=["c7i.xlarge"], size=third).rows[0].status is Status.PLANNED
    refused = plan(instance_types=["c7i.xlarge"], size=third + 1).rows[0]
    assert refused.status is Status.NOT_RUN
    assert f"c7i.xlarge has {mib:,}" in str(refused.reason)


def test_a_type_whose_memory_is_exactly_enough_is_started(plan: Plan) -> None:
    """c7i.12xlarge has 96 GiB, a third of which is 32 GiB."""
    (row,) = plan(instance_types=["c7i.12xlarge"], size=32 * 2**30).rows
    assert row.status is Status.PLANNED


def test_a_budget_of_exactly_the_most_is_enough(plan: Plan) -> None:
    record = plan(instance_types=["g4dn.xlarge"])
    check_budget(record, max_usd=record.most_usd, confirmed=False)
    with pytest.raises(BudgetError):
        check_budget(record, max_usd=record.most_usd - 1e-9, confirmed=False)


def test_several_plans_share_one_budget_and_those_that_cost_nothing_take_none(plan: Plan) -> None:
    one, other = plan(instance_types=["g4dn.xlarge"]), plan(instance_types=["g6.xlarge"])
    embedded = plan(cloud="local", instance_types=["g6.xlarge"])
    both = one.most_usd + other.most_usd
    check_budget(one, other, embedded, max_usd=both, confirmed=False)
    with pytest.raises(BudgetError, match=rf"\${both:.2f}"):
        check_budget(one, other, embedded, max_usd=both - 0.01, confirmed=False)
    check_budget(embedded, max_usd=0.0, confirmed=False)


def test_the_most_of_an_instance_and_of_a_function_by_hand(plan: Plan) -> None:
    """g4dn.xlarge for 90 minutes: 1.5 x 0.526, 100 GB x 1.5/730 months x 0.08, 1.5 x 0.005.

    A call of 1,769 MB that takes all of 30 s: 30 x 1769/1024 GB-s, fee, gateway, PUT and GET.
    """
    (row,) = plan(instance_types=["g4dn.xlarge"]).rows
    assert most_instance_usd(row, minutes=90, book=BOOK) == pytest.approx(
        1.5 * 0.526 + 100 * 1.5 / 730 * 0.08 + 1.5 * 0.005
    )
    row.usd_per_hour = None
    assert most_instance_usd(row, minutes=60, book=BOOK) == pytest.approx(100 / 730 * 0.08 + 0.005)
    a_call = 30 * 1769 / 1024 * 0.0000166667 + 2e-7 + 3.5e-6 + 5e-6 + 4e-7
    assert most_function_usd(FunctionSetting(1769), calls=7, book=BOOK) == pytest.approx(7 * a_call)
