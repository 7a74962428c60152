"""Plans: what is refused before anything is started, and the most it can cost."""

from __future__ import annotations

import pytest

from tests.unit.compare.conftest import BOOK, Plan
from visionstack.compare.errors import BudgetError, RowUsageError
from visionstack.compare.plan import check_budget, most_function_usd, most_usd
from visionstack.compare.record import Status
from visionstack.compare.targets import FunctionSetting, check_instance_type, parse_function
from visionstack.doctor.checks import Check, State


def test_a_function_is_named_by_its_parts_and_the_rest_has_defaults() -> None:
    assert parse_function("1769") == FunctionSetting(1769, "x86_64", "auto", "none")
    assert parse_function("3008:arm64:s3-packages:warmer") == FunctionSetting(
        3008, "arm64", "s3-packages", "warmer"
    )
    assert parse_function("1769", arch="arm64").arch == "arm64"
    assert parse_function("3008:::snapstart") == FunctionSetting(3008, cold_start="snapstart")


def test_an_engine_is_a_row_of_its_own_and_torch_comes_from_s3() -> None:
    torch = parse_function("3008::s3-packages::torch")
    assert torch.engine == "torch"
    assert torch.context()["classifier_engine"] == "torch"
    assert torch.name != parse_function("3008::s3-packages").name
    with pytest.raises(RowUsageError, match="torch is too large"):
        parse_function("3008::package::torch")


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("big", "'big'"),
        ("64", "cannot be"),
        ("99999", "cannot be"),
        ("1769:sparc", "'sparc'"),
        ("1769:arm64:docker", "'docker'"),
        ("1769:arm64:package:magic", "'magic'"),
        ("1769:arm64:package:none:abacus", "'abacus'"),
        ("1769:arm64:package:none:auto:more", "cannot be"),
    ],
)
def test_a_function_that_cannot_be_is_refused_by_name(text: str, word: str) -> None:
    with pytest.raises(RowUsageError, match=word):
        parse_function(text)


def test_a_type_that_does_not_exist_is_refused_with_its_neighbours() -> None:
    with pytest.raises(RowUsageError, match=r"g6\.xlarg"):
        check_instance_type("g6.xlarg")
    check_instance_type("g6.xlarge")


def test_an_empty_wish_and_a_wrong_scenario_are_refused(plan: Plan) -> None:
    with pytest.raises(RowUsageError, match="nothing to compare"):
        plan()
    with pytest.raises(RowUsageError, match="'burst'"):
        plan(local=True, scenarios=["burst"])
    with pytest.raises(RowUsageError, match="'engine'") as refused:
        plan(local=True, scopes=["engine"])
    assert "network" in str(refused.value.remedy)


def test_a_detector_is_not_compared_on_lambda(plan: Plan) -> None:
    with pytest.raises(RowUsageError, match="serverless lane classifies"):
        plan(task="detect", functions=[FunctionSetting(1769)])


def test_the_most_a_plan_can_cost_is_its_machines_to_their_time_outs(plan: Plan) -> None:
    """By hand, g4dn.xlarge at 0.526 for half an hour: 0.263 + 100 GB x 0.5/730 x 0.08 + 0.0025."""
    record = plan(instance_types=["g4dn.xlarge"], minutes=30)
    price = BOOK.instance("g4dn.xlarge").usd
    assert record.most_usd == pytest.approx(price / 2 + 100 * 0.5 / 730 * 0.08 + 0.005 / 2)
    with_function = plan(
        instance_types=["g4dn.xlarge"], functions=[FunctionSetting(1024)], minutes=30, calls=100
    )
    # 100 warm calls, 3 first ones and 2 before, each of 30 s at 1 GB: 3,150 GB-s; requests,
    # gateway, one PUT and one GET each
    assert with_function.most_usd - record.most_usd == pytest.approx(
        3150 * 0.0000166667 + 105 * (2e-7 + 3.5e-6 + 5e-6 + 4e-7)
    )


def test_what_is_left_to_run_is_budgeted_with_the_time_it_now_gets(plan: Plan) -> None:
    record = plan(instance_types=["g6.xlarge", "g4dn.xlarge"], minutes=30)
    record.row("g6.xlarge").status = Status.MEASURED
    alone = plan(instance_types=["g4dn.xlarge"], minutes=60)
    assert most_usd(record, minutes=60, calls=10, book=BOOK) == pytest.approx(alone.most_usd)
    assert alone.most_usd > BOOK.instance("g4dn.xlarge").usd


def test_aws_wants_a_budget_or_a_yes_and_holds_the_budget(plan: Plan) -> None:
    record = plan(instance_types=["g4dn.xlarge"])
    with pytest.raises(BudgetError, match="--max-usd"):
        check_budget(record, max_usd=None, confirmed=False)
    with pytest.raises(BudgetError, match=r"the budget is \$0\.10"):
        check_budget(record, max_usd=0.10, confirmed=True)
    check_budget(record, max_usd=None, confirmed=True)
    check_budget(record, max_usd=5, confirmed=False)


def test_this_machine_and_the_embedded_cloud_need_no_budget(plan: Plan) -> None:
    check_budget(plan(local=True), max_usd=None, confirmed=False)
    embedded = plan(cloud="local", instance_types=["g4dn.xlarge"], functions=[FunctionSetting(512)])
    assert embedded.most_usd == 0
    check_budget(embedded, max_usd=None, confirmed=False)


def test_a_type_that_doctor_finds_bad_is_a_row_and_costs_nothing(plan: Plan) -> None:
    def check(name: str) -> list[Check]:
        state = State.BAD if name == "g6.xlarge" else State.GOOD
        return [Check(f"{name}: vCPU quota", state, "0 vCPUs allowed, 4 needed")]

    record = plan(instance_types=["g6.xlarge", "c7i.xlarge"], check=check)
    row = record.row("g6.xlarge")
    assert row.status is Status.NOT_RUN
    assert row.reason == "not run: 0 vCPUs allowed, 4 needed"
    assert record.row("c7i.xlarge").status is Status.PLANNED
    assert record.most_usd < BOOK.instance("g6.xlarge").usd


def test_a_type_without_a_price_is_not_started_on_aws_and_is_shown_without_one_elsewhere(
    plan: Plan,
) -> None:
    (row,) = plan(instance_types=["x99.huge"]).rows
    assert (row.status, row.usd_per_hour) == (Status.NOT_RUN, None)
    assert "without a price" in str(row.reason)
    (here,) = plan(cloud="local", instance_types=["x99.huge"]).rows
    assert here.status is Status.PLANNED
    assert "no price for it in the price book" in here.notes


def test_a_plan_needs_a_cloud_while_a_row_of_one_is_open_or_something_is_deployed(
    plan: Plan,
) -> None:
    assert not plan(local=True).needs_cloud
    record = plan(instance_types=["g6.xlarge"])
    assert record.needs_cloud
    record.rows[0].status = Status.NOT_RUN
    assert not record.needs_cloud
    record.deployed = ["visionstack-compare-storage"]
    assert record.needs_cloud


def test_a_model_too_big_for_a_types_memory_is_not_started_on_it(plan: Plan) -> None:
    record = plan(instance_types=["c7i.xlarge"], size=5 * 2**30)
    row = record.row("c7i.xlarge")
    assert row.status is Status.NOT_RUN
    assert "15,360 MiB" in str(row.reason)


def test_the_embedded_cloud_says_what_it_cannot_show(plan: Plan) -> None:
    record = plan(
        cloud="local",
        functions=[FunctionSetting(512, "arm64"), FunctionSetting(512, cold_start="provisioned")],
    )
    arm, provisioned = record.rows
    assert arm.status is Status.NOT_RUN
    assert "not available on this machine" in str(arm.reason)
    assert arm.other_hardware
    assert any("only records provisioned" in note for note in provisioned.notes)
    assert any("whole CPU" in note for note in provisioned.notes)


def test_the_same_row_asked_for_twice_is_one_row(plan: Plan) -> None:
    record = plan(instance_types=["c7i.xlarge", "c7i.xlarge"], functions=[FunctionSetting(512)] * 2)
    assert len(record.rows) == 2


def test_a_function_that_may_run_longer_may_cost_more() -> None:
    def most(text: str) -> float:
        setting = parse_function(text)
        return most_function_usd(setting, calls=10, book=BOOK)

    # 120 s and 30 s are the time-outs that are deployed; the fees a call are the same.
    assert most("3008::s3-packages") > 3.9 * most("3008::package")


@pytest.mark.parametrize(("arch", "gb_second"), [("x86_64", 0.0000041667), ("arm64", 0.0000033334)])
def test_the_most_of_provisioned_concurrency_is_an_hour_of_it_beside_the_calls(
    plan: Plan, arch: str, gb_second: float
) -> None:
    """AWS's price by GB-second held (https://aws.amazon.com/lambda/pricing/): 2 GB for 3,600 s."""
    held = plan(functions=[FunctionSetting(2048, arch, cold_start="provisioned")])
    plain = plan(functions=[FunctionSetting(2048, arch)])
    assert held.most_usd - plain.most_usd == pytest.approx(2 * 3600 * gb_second)
