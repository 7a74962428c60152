"""A rehearsal's budget, refusals, leftovers and report; its lanes are fakes."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from visionstack.cli.main import app
from visionstack.cloud.aws_errors import CredentialsError
from visionstack.compare.errors import BudgetError
from visionstack.compare.record import Record, Row, Status
from visionstack.compare.targets import Kind
from visionstack.cost.prices import load
from visionstack.cost.standing import Standing
from visionstack.doctor.checks import Check, State
from visionstack.errors import VisionstackError
from visionstack.rehearse import lanes as rehearsed
from visionstack.rehearse import leftovers, session
from visionstack.rehearse.budget import LAST_STEP_MINUTES, Plan, check_budget
from visionstack.rehearse.lanes import Lanes, compared, within
from visionstack.rehearse.report import build_report
from visionstack.rehearse.steps import NotEmbeddedError, Outcome, Result, Run, Step
from visionstack.report.write import write

BOOK = load("2026-11-21")
PLAN = Plan(instance_type="c7i.large", compared=("c7i.large", "c6i.large"), minutes=60)
ACCOUNT = "123456789012"


# --- budget ---


def test_the_default_plan_costs_less_than_a_dollar_and_more_than_its_instances() -> None:
    hours = (60 + LAST_STEP_MINUTES) / 60
    lanes = Standing(instance_type="c7i.large", gpu=False).usd_per_hour(BOOK) * hours
    assert lanes < PLAN.most_usd(BOOK) < 1


@pytest.mark.parametrize(
    "dearer",
    [
        Plan(instance_type="g4dn.xlarge", compared=PLAN.compared, minutes=60),
        Plan(instance_type="c7i.large", compared=(*PLAN.compared, "m7i.large"), minutes=60),
        Plan(instance_type="c7i.large", compared=PLAN.compared, minutes=120),
    ],
)
def test_a_larger_plan_costs_more(dearer: Plan) -> None:
    assert dearer.most_usd(BOOK) > PLAN.most_usd(BOOK)


@pytest.mark.parametrize(
    ("max_usd", "confirmed", "refused"),
    [
        (None, False, "can cost up to $0.64"),
        (0.5, False, "the budget is $0.50"),
        (0.5, True, "the budget is $0.50"),
        (1, False, None),
        (None, True, None),
    ],
)
def test_what_could_cost_more_than_allowed_is_refused(
    max_usd: float | None, confirmed: bool, refused: str | None
) -> None:
    if refused is None:
        check_budget(0.64, max_usd=max_usd, confirmed=confirmed)
        return
    with pytest.raises(BudgetError) as said:
        check_budget(0.64, max_usd=max_usd, confirmed=confirmed)
    assert refused in said.value.message


# --- the command ---


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """An AWS account without stacks, whose lanes pass every step but those in `raised`."""
    found = SimpleNamespace(stacks={}, checks=[], raised={}, ran=[], out=tmp_path, asked=[])

    def steps(self: Lanes) -> list[Step]:
        found.asked.append(self)

        def step(name: str, **how: Any) -> Step:
            def act() -> str:
                found.ran.append(name)
                if name in found.raised:
                    raise found.raised[name]
                return f"arn:aws:iam::{ACCOUNT}:role/x at 203.0.113.7"

            return Step(name=name, expected=f"{name} works", run=act, **how)

        return [step("deploy"), step("stream", needs=("deploy",)), step("destroy", always=True)]

    monkeypatch.setattr(Lanes, "steps", steps)
    monkeypatch.setattr(session, "resolve_cloud", lambda cloud: "aws")
    monkeypatch.setattr(
        session,
        "connect",
        lambda *, cloud, prefix: SimpleNamespace(cloud=cloud, prefix=prefix, region="eu-west-1"),
    )
    monkeypatch.setattr(session, "check_account", lambda _: found.checks)
    monkeypatch.setattr(session, "own_address", lambda: "203.0.113.7")
    monkeypatch.setattr(leftovers, "stacks", lambda _: found.stacks)
    return found


def ask(account: Any, *options: str) -> Any:
    arguments = ["rehearse", "--cloud", "aws", "--out", str(account.out), *options]
    return CliRunner().invoke(app, arguments)


def test_without_a_budget_nothing_is_started_on_aws(account: Any) -> None:
    done = ask(account)
    assert isinstance(done.exception, BudgetError)
    assert account.ran == []


def test_a_budget_below_the_plan_starts_nothing(account: Any) -> None:
    done = ask(account, "--max-usd", "0.1")
    assert isinstance(done.exception, BudgetError)
    assert account.ran == []


def test_within_the_budget_it_runs_under_its_own_prefix_for_this_machine_alone(
    account: Any,
) -> None:
    done = ask(account, "--max-usd", "1", "-c", "log_retention_days=1")

    assert done.exit_code == 0, done.output
    assert account.ran == ["deploy", "stream", "destroy"]
    (lanes,) = account.asked
    assert lanes.deployment.prefix == lanes.settings["prefix"] == "visionstack-rehearse"
    assert lanes.settings["allowed_cidrs"] == "203.0.113.7/32"
    assert lanes.settings["instances_max"] == 1
    assert lanes.settings["log_retention_days"] == "1"
    assert "3 steps: 3 passed" in done.output


def test_the_report_shows_nobodys_account_or_address(account: Any) -> None:
    ask(account, "--yes")

    for suffix in ("html", "md", "json"):
        text = (account.out / f"report.{suffix}").read_text()
        assert ACCOUNT not in text
        assert "203.0.113.7" not in text
        assert "role/x at" in text
    document = json.loads((account.out / "report.json").read_text())
    assert [one["outcome"] for one in document["steps"]] == ["passed"] * 3
    assert document["facts"]["region"] == "eu-west-1"


def test_a_failed_step_ends_with_1_and_with_everything_destroyed(account: Any) -> None:
    account.raised["deploy"] = VisionstackError(f"Role arn:aws:iam::{ACCOUNT}:role/y is refused.")
    done = ask(account, "--yes")

    assert done.exit_code == 1
    assert account.ran == ["deploy", "destroy"]
    assert "1 passed, 1 failed, 1 not run" in done.output
    report = (account.out / "report.md").read_text()
    assert "is refused" in report
    assert ACCOUNT not in report


def test_ctrl_c_destroys_reports_and_ends_as_interrupted(account: Any) -> None:
    account.raised["stream"] = KeyboardInterrupt()
    done = ask(account, "--yes")

    assert done.exit_code == 130
    assert account.ran == ["deploy", "stream", "destroy"]
    assert "interrupted" in (account.out / "report.md").read_text()


def test_stacks_of_another_rehearsal_or_comparison_are_left_alone(account: Any) -> None:
    for stack in ("visionstack-rehearse-storage", "visionstack-compare-storage"):
        account.stacks = {stack: "CREATE_COMPLETE"}
        done = ask(account, "--yes")
        assert isinstance(done.exception, VisionstackError)
        assert stack in done.exception.message
    account.stacks = {"visionstack-storage": "CREATE_COMPLETE"}
    assert ask(account, "--yes").exit_code == 0
    assert account.ran == ["deploy", "stream", "destroy"]


def test_an_account_that_is_not_ready_is_refused_with_doctors_sentence(account: Any) -> None:
    account.checks.append(Check("CDK bootstrap", State.BAD, "there is none", "npx cdk bootstrap"))
    done = ask(account, "--yes")

    assert isinstance(done.exception, VisionstackError)
    assert str(done.exception) == "CDK bootstrap: there is none. npx cdk bootstrap"
    assert account.ran == []


# --- the steps themselves ---


class Pages:
    """boto3's client of any service, for what `leftovers` lists."""

    def __init__(self, answers: dict[str, Any], call: str = "") -> None:
        self.answers, self.call = answers, call

    def get_paginator(self, call: str) -> Pages:
        return Pages(self.answers, call)

    def paginate(self, **_: Any) -> Any:
        import jmespath

        page = self.answers.get(self.call, {})
        return SimpleNamespace(search=lambda path: jmespath.search(path, page) or [])


def deployment(answers: dict[str, Any], **more: Any) -> Any:
    return SimpleNamespace(
        cloud="aws",
        prefix="visionstack-rehearse",
        client=lambda _: Pages(answers),
        stack_name=lambda name: f"visionstack-rehearse-{name}",
        **more,
    )


def stack(name: str, status: str = "CREATE_COMPLETE") -> dict[str, str]:
    return {"StackName": name, "StackStatus": status}


def test_what_is_left_is_found_by_its_name_or_tag_and_what_is_the_users_is_not() -> None:
    answers = {
        "describe_stacks": {
            "Stacks": [
                stack("visionstack-rehearse-storage", "DELETE_FAILED"),
                stack("visionstack-rehearse-warmer", "DELETE_COMPLETE"),
                stack("visionstack-storage"),
            ]
        },
        "list_buckets": {"Buckets": [{"Name": "visionstack-storage-logs-1"}]},
        "describe_log_groups": {
            "logGroups": [
                {"logGroupName": "/visionstack-rehearse/boot"},
                {"logGroupName": "/aws/lambda/visionstack-rehearse-warmer-Fn"},
                {"logGroupName": "/visionstack/boot"},
            ]
        },
        "describe_instances": {
            "Reservations": [
                {
                    "Instances": [
                        {"InstanceId": "i-1", "State": {"Name": "terminated"}},
                        {"InstanceId": "i-2", "State": {"Name": "running"}},
                    ]
                }
            ]
        },
        "describe_vpcs": {"Vpcs": [{"VpcId": "vpc-1"}]},
        "list_roles": {
            "Roles": [
                {"RoleName": "visionstack-rehearse-warmer-Role-1"},
                {"RoleName": "visionstack-rehearse-classifier-FrontApiCloudWatchR4C-1"},
            ]
        },
    }
    assert leftovers.left(deployment(answers), ["visionstack-rehearse"]) == [
        "stack visionstack-rehearse-storage",
        "log group /visionstack-rehearse/boot",
        "log group /aws/lambda/visionstack-rehearse-warmer-Fn",
        "role visionstack-rehearse-warmer-Role-1",
        "instance i-2",
        "network vpc-1",
    ]


def test_what_is_still_ending_is_waited_for_but_not_for_ever() -> None:
    looks = iter([["instance i-1"], ["instance i-1"], []])
    slept: list[float] = []
    found = leftovers.wait_until_none(
        lambda: next(looks), patience_s=60, clock=lambda: sum(slept), sleep=slept.append
    )
    assert (found, len(slept)) == ([], 2)
    found = leftovers.wait_until_none(
        lambda: ["vpc-1"], patience_s=60, clock=lambda: sum(slept), sleep=slept.append
    )
    assert found == ["vpc-1"]


def lanes_of(where: Any, tmp_path: Path) -> Lanes:
    return Lanes(
        deployment=where,
        plan=PLAN,
        settings={"prefix": "visionstack-rehearse"},
        changed_settings={"cold_start": "none"},
        compared_prefix="visionstack-compare",
        out=tmp_path,
    )


def test_what_cdk_does_not_destroy_is_deleted_directly_storage_last(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    names = [
        "visionstack-rehearse-storage",
        "visionstack-rehearse-streaming",
        "visionstack-storage",
    ]
    deleted: list[str] = []

    def broken(*_: Any, **__: Any) -> None:
        raise VisionstackError("cdk destroy failed.")

    monkeypatch.setattr("visionstack.rehearse.lanes.cdk", broken)
    monkeypatch.setattr(
        "visionstack.rehearse.lanes.delete_stacks",
        lambda _client, names, *, remedy: deleted.extend(reversed(names)),
    )
    where = deployment({"describe_stacks": {"Stacks": [stack(name) for name in names]}})
    told = lanes_of(where, tmp_path).destroy()

    assert deleted == ["visionstack-rehearse-streaming", "visionstack-rehearse-storage"]
    assert "cdk destroy failed" in told


def test_a_deployment_that_goes_on_without_cdk_is_waited_for_before_it_is_destroyed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    statuses = ["UPDATE_IN_PROGRESS"] * 3 + ["UPDATE_COMPLETE"]
    at_cdk: list[str] = []
    listed = {"visionstack-rehearse-classifier": ""}

    def stacks(_: Any) -> dict[str, str]:
        return dict.fromkeys(listed, statuses[0])

    def slept(_: float) -> None:
        statuses.pop(0)

    def cdk(*_: Any, **__: Any) -> None:
        at_cdk.append(statuses[0])
        listed.clear()

    monkeypatch.setattr(leftovers, "stacks", stacks)
    monkeypatch.setattr(
        leftovers, "wait_until_none", partial(leftovers.wait_until_none, sleep=slept)
    )
    monkeypatch.setattr("visionstack.rehearse.lanes.cdk", cdk)
    lanes_of(deployment({}), tmp_path).destroy()

    assert at_cdk == ["UPDATE_COMPLETE"]


def test_what_is_left_fails_the_last_step_and_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(rehearsed, "GONE_WITHIN_S", 0)
    where = deployment({"describe_vpcs": {"Vpcs": [{"VpcId": "vpc-1"}]}})
    with pytest.raises(VisionstackError, match="network vpc-1") as said:
        lanes_of(where, tmp_path).nothing_left()
    assert "npx cdk destroy --all -c prefix=visionstack-rehearse" in str(said.value)
    assert lanes_of(deployment({}), tmp_path).nothing_left().startswith("Nothing is left")


def test_credentials_that_expired_meanwhile_end_with_what_may_stand_and_how_to_remove_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def expired(*_: Any) -> None:
        raise CredentialsError("Could not list the stacks: they have expired.", remedy="Again.")

    monkeypatch.setattr(leftovers, "left", expired)
    with pytest.raises(VisionstackError, match=r"may still stand.*have expired") as said:
        lanes_of(deployment({}), tmp_path).nothing_left()
    assert "aws sso login" in str(said.value)
    assert "npx cdk destroy --all -c prefix=visionstack-rehearse" in str(said.value)


def record(cloud: str, *rows: Row) -> Record:
    return Record(
        run="r",
        cloud=cloud,
        region="",
        model="",
        version="",
        task="",
        weights_trained=True,
        weights="",
        picture="",
        picture_sha256="",
        scenarios=[],
        scopes=[],
        seconds=1,
        rows=list(rows),
    )


def test_a_type_that_the_embedded_cloud_has_not_got_has_not_passed() -> None:
    absent = "not run: not available on this machine (it wants c7i.large)"
    rows = [
        Row(name, Kind.INSTANCE, Status.NOT_RUN, absent, other_hardware=True)
        for name in PLAN.compared
    ]
    with pytest.raises(NotEmbeddedError, match=r"c7i.large.*c6i.large"):
        compared(record("local", *rows))


@pytest.mark.parametrize(
    ("cloud", "reason"),
    [
        ("aws", "not run: not available on this machine"),
        ("local", "cdk deploy failed: the type is not available on this machine"),
    ],
)
def test_a_type_that_was_not_measured_for_another_reason_fails(cloud: str, reason: str) -> None:
    measured = Row("c7i.large", Kind.INSTANCE, Status.MEASURED)
    with pytest.raises(VisionstackError, match=reason) as said:
        compared(record(cloud, measured, Row("c6i.large", Kind.INSTANCE, Status.FAILED, reason)))
    assert not isinstance(said.value, NotEmbeddedError)
    assert compared(record(cloud, measured)) == "c7i.large were measured."


def test_a_server_that_is_not_up_yet_is_asked_again_for_a_while() -> None:
    slept: list[float] = []

    def answers() -> int:
        if len(slept) < 3:
            raise VisionstackError("not yet")
        return 7

    def never() -> int:
        raise VisionstackError("not yet")

    assert within(60, answers, clock=lambda: sum(slept), sleep=slept.append) == 7
    with pytest.raises(VisionstackError, match="not yet"):
        within(60, never, clock=lambda: sum(slept), sleep=slept.append)


def test_the_emulated_report_says_so_and_a_step_left_out_has_no_time(tmp_path: Path) -> None:
    results = [
        Result(
            name="compare",
            expected="measured",
            outcome=Outcome.NOT_EMBEDDED,
            seconds=2,
            told=f"no such machine, {Path.home()}/out",
        ),
        Result(name="warm", expected="5", outcome=Outcome.NOT_RUN, seconds=0, told="It needs x."),
    ]
    report = build_report(
        Run(results),
        facts={"cloud": "embedded"},
        machine="m",
        versions={"cv": "4.14.0.88"},
        emulated=True,
    )
    text = write(report, tmp_path)["md"].read_text()
    assert "emulated" in text
    assert "cv 4.14.0.88" in text
    assert "2 steps: 1 not on the embedded cloud, 1 not run." in text
    assert str(Path.home()) + "/" not in text
