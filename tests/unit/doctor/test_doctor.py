"""What doctor says of machines, accounts and instance types, asked of fakes."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError
from typer.testing import CliRunner

from stacks.catalog import Catalog
from stacks.settings.model import DeploymentSettings
from visionstack.cli.main import app
from visionstack.compare.plan import Request
from visionstack.compare.session import _plan
from visionstack.doctor.aws import (
    check_account,
    check_concurrency,
    check_instance_type,
    deployed_image,
)
from visionstack.doctor.checks import Check, State, check_this_machine, worst
from visionstack.doctor.vcpu_quotas import VcpuQuotas, quota_of
from visionstack.errors import VisionstackError


def refusal(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": code}}, "Ask")


@dataclass
class FakeCloud:
    """Answers by service and call; an exception among the answers is raised."""

    answers: dict[str, Any]
    cloud: str = "aws"
    asked: list[str] = field(default_factory=list)

    def output(self, stack: str, key: str) -> str:
        raise VisionstackError(f"Stack {stack} is not deployed: no {key}.")

    def client(self, service: str) -> Any:
        def call(name: str) -> Callable[..., Any]:
            def answer(**_: Any) -> Any:
                self.asked.append(f"{service}.{name}")
                value = self.answers[name]
                if isinstance(value, Exception):
                    raise value
                return value

            return answer

        def pages(name: str) -> Any:
            return SimpleNamespace(paginate=lambda **_: [call(name)()])

        return SimpleNamespace(
            meta=SimpleNamespace(region_name="us-east-1"),
            get_paginator=pages,
            **{name: call(name) for name in self.answers},
        )


def aws(**changes: Any) -> FakeCloud:
    answers: dict[str, Any] = {
        "get_caller_identity": {"Account": "123456789012"},
        "get_parameter": {"Parameter": {"Value": "21"}},
        "describe_instance_type_offerings": {
            "InstanceTypeOfferings": [
                {"InstanceType": "g6.xlarge", "Location": zone}
                for zone in ("us-east-1b", "us-east-1a")
            ]
        },
        "list_service_quotas": {
            "Quotas": [
                {
                    "QuotaCode": "L-DB2E81BA",
                    "QuotaName": "Running On-Demand G and VT instances",
                    "Value": 8.0,
                },
                {"QuotaCode": "L-1216C47A", "Value": 32.0},
            ]
        },
        "describe_instances": {"Reservations": []},
        "describe_images": {"Images": [{"Architecture": "x86_64", "State": "available"}]},
    }
    return FakeCloud({**answers, **changes})


def by_name(checks: list[Check]) -> dict[str, Check]:
    return {check.name.partition(": ")[2] or check.name: check for check in checks}


def test_an_account_and_a_type_that_fit_are_good() -> None:
    assert worst(check_account(aws())) is State.GOOD
    checks = by_name(check_instance_type(aws(), "g6.xlarge"))
    assert worst(checks.values()) is State.GOOD
    assert "us-east-1a, us-east-1b" in checks["offering"].detail
    assert checks["vCPU quota"].detail.startswith("4 of 8 vCPUs")


def test_doctor_only_reads() -> None:
    cloud = aws()
    check_account(cloud)
    check_instance_type(cloud, "g6.xlarge")
    verbs = {name.partition(".")[2].partition("_")[0] for name in cloud.asked}
    assert verbs <= {"get", "describe", "list"}


@pytest.mark.parametrize("value", [0.0, 3.0])
def test_a_quota_that_is_too_small_is_bad_and_says_by_how_much(value: float) -> None:
    quotas = {"Quotas": [{"QuotaCode": "L-DB2E81BA", "Value": value}]}
    check = by_name(check_instance_type(aws(list_service_quotas=quotas), "g6.xlarge"))["vCPU quota"]
    assert check.state is State.BAD
    assert f"{value:.0f} vCPUs allowed, 4 needed" in check.detail
    assert "L-DB2E81BA --desired-value 4" in str(check.remedy)


def instances(*kinds: str, spot: bool = False, group: str | None = None) -> dict[str, Any]:
    """What EC2 says of running instances, each of 2 cores with 2 threads."""
    one = {"CpuOptions": {"CoreCount": 2, "ThreadsPerCore": 2}}
    if spot:
        one["InstanceLifecycle"] = "spot"
    if group:
        one["Tags"] = [{"Key": "aws:autoscaling:groupName", "Value": group}]
    return {"Reservations": [{"Instances": [one | {"InstanceType": kind}]} for kind in kinds]}


@pytest.mark.parametrize(
    ("running", "state"),
    [
        (instances("g4dn.xlarge"), State.GOOD),
        (instances("g4dn.xlarge", "g5.xlarge"), State.BAD),
        (instances("c7i.xlarge", "m7g.xlarge"), State.GOOD),
        (instances("g4dn.xlarge", "g5.xlarge", spot=True), State.GOOD),
    ],
)
def test_what_runs_already_counts_by_quota(running: dict[str, Any], state: State) -> None:
    checks = by_name(check_instance_type(aws(describe_instances=running), "g6.xlarge"))
    assert checks["vCPU quota"].state is state


def test_the_types_of_a_plan_are_summed_and_the_first_that_fit_do() -> None:
    cloud = aws(
        describe_instance_type_offerings={
            "InstanceTypeOfferings": [
                {"InstanceType": name, "Location": "us-east-1a"}
                for name in ("g4dn.xlarge", "g6.xlarge", "g5.xlarge", "c7i.xlarge")
            ]
        }
    )
    quotas = VcpuQuotas(cloud)
    states = [
        by_name(check_instance_type(cloud, name, quotas=quotas))["vCPU quota"].state
        for name in ("g4dn.xlarge", "g6.xlarge", "g5.xlarge", "c7i.xlarge")
    ]
    assert states == [State.GOOD, State.GOOD, State.BAD, State.GOOD]
    assert cloud.asked.count("service-quotas.list_service_quotas") == 1


def test_a_type_that_cannot_start_anyway_claims_no_quota() -> None:
    cloud = aws()
    quotas = VcpuQuotas(cloud)
    assert by_name(check_instance_type(cloud, "g5.xlarge", quotas=quotas))["offering"].state is (
        State.BAD
    )
    checks = by_name(check_instance_type(cloud, "g6.xlarge", count=2, quotas=quotas))
    assert checks["vCPU quota"].state is State.GOOD


def test_an_update_needs_room_for_one_instance_more() -> None:
    cloud = aws(describe_instances=instances("g4dn.xlarge"))
    check = by_name(check_instance_type(cloud, "g6.xlarge", extra=1))["vCPU quota"]
    assert check.state is State.WARNING
    assert "L-DB2E81BA --desired-value 12" in str(check.remedy)


def test_the_instances_that_a_plan_is_for_are_not_counted_twice() -> None:
    running = instances("g6.xlarge", group="visionstack-stream")
    cloud = aws(describe_instances=running)
    quotas = VcpuQuotas(cloud, own_group="visionstack-stream")
    check = by_name(check_instance_type(cloud, "g6.xlarge", extra=1, quotas=quotas))["vCPU quota"]
    assert check.state is State.GOOD


def test_a_type_that_no_zone_offers_is_bad() -> None:
    none = {"InstanceTypeOfferings": []}
    check = by_name(check_instance_type(aws(describe_instance_type_offerings=none), "g6.xlarge"))
    assert check["offering"].state is State.BAD


def test_an_image_of_another_architecture_is_bad() -> None:
    arm = {"Images": [{"Architecture": "arm64", "State": "available"}]}
    checks = check_instance_type(aws(describe_images=arm), "g6.xlarge", ami_id="ami-1")
    check = by_name(checks)["machine image"]
    assert check.state is State.BAD
    assert "ami-1 is for arm64" in check.detail


@pytest.mark.parametrize(
    "images", [{"Images": []}, {"Images": [{"Architecture": "x86_64", "State": "deregistered"}]}]
)
def test_an_image_that_is_gone_is_bad(images: dict[str, Any]) -> None:
    checks = check_instance_type(aws(describe_images=images), "g6.xlarge", ami_id="ami-1")
    assert by_name(checks)["machine image"].state is State.BAD


def test_a_kept_image_is_told_of_when_aws_has_a_newer_one() -> None:
    newest = {"Parameter": {"Value": "ami-2"}}
    check = by_name(
        check_instance_type(aws(get_parameter=newest), "g6.xlarge", deployed_image="ami-1")
    )["machine image"]
    assert check.state is State.WARNING
    assert "ami-1 is deployed and kept; AWS has published ami-2" in check.detail
    assert "ami_update=" in str(check.remedy)
    same = check_instance_type(aws(get_parameter=newest), "g6.xlarge", deployed_image="ami-2")
    assert by_name(same)["machine image"].state is State.GOOD


def test_a_kept_image_that_is_gone_is_bad() -> None:
    cloud = aws(get_parameter={"Parameter": {"Value": "ami-2"}}, describe_images={"Images": []})
    check = by_name(check_instance_type(cloud, "g6.xlarge", deployed_image="ami-1"))
    assert check["machine image"].state is State.BAD


def test_the_kept_image_is_the_launch_templates() -> None:
    version = {"LaunchTemplateData": {"ImageId": "ami-1"}}
    cloud = aws(describe_launch_template_versions={"LaunchTemplateVersions": [version]})

    class Deployed:
        client = cloud.client

        def output(self, stack: str, key: str) -> str:
            return f"{stack}/{key}"

    class Nothing(Deployed):
        def output(self, stack: str, key: str) -> str:
            raise VisionstackError("not deployed")

    assert deployed_image(Deployed()) == "ami-1"
    assert deployed_image(Nothing()) is None


def test_a_retired_and_an_unknown_type_are_bad_without_asking_aws() -> None:
    for name, word in (("p3.2xlarge", "retired"), ("nope.large", "'nope.large'")):
        cloud = aws()
        (check,) = check_instance_type(cloud, name)
        assert check.state is State.BAD
        assert word in check.detail
        assert cloud.asked == []


def test_what_a_deploy_would_refuse_is_bad_before_it() -> None:
    accelerated = next(
        found.name
        for found in Catalog.load().values()
        if found.unused_accelerator and not found.retired
    )
    for name, word in ((accelerated, "no engine here"), ("t3.micro", "2048 MiB")):
        (check,) = check_instance_type(aws(), name)
        assert check.state is State.BAD
        assert word in check.detail


def test_missing_and_expired_credentials_end_the_questions() -> None:
    (missing,) = check_account(aws(get_caller_identity=NoCredentialsError()))
    assert missing.state is State.BAD
    assert "visionstack local up" in str(missing.remedy)
    (expired,) = check_account(aws(get_caller_identity=refusal("ExpiredToken")))
    assert expired.state is State.BAD


def test_an_account_that_is_not_bootstrapped_is_bad() -> None:
    checks = check_account(aws(get_parameter=refusal("ParameterNotFound")))
    assert checks[1].state is State.BAD
    assert "cdk bootstrap" in str(checks[1].remedy)
    old = check_account(aws(get_parameter={"Parameter": {"Value": "3"}}))
    assert old[1].state is State.BAD


def test_an_embedded_cloud_without_bootstrap_sends_nobody_to_aws() -> None:
    cloud = aws(get_parameter=refusal("ParameterNotFound"))
    cloud.cloud = "local"
    bootstrap = check_account(cloud)[1]
    assert bootstrap.state is State.UNKNOWN
    assert "cdk bootstrap" not in f"{bootstrap.detail} {bootstrap.remedy}"


def test_what_may_not_be_read_is_unknown_and_not_bad() -> None:
    denied = check_account(aws(get_parameter=refusal("AccessDenied")))
    assert denied[1].state is State.UNKNOWN
    offline = EndpointConnectionError(endpoint_url="https://ec2")
    checks = by_name(
        check_instance_type(aws(describe_instance_type_offerings=offline), "g6.xlarge")
    )
    assert checks["offering"].state is State.UNKNOWN
    assert checks["vCPU quota"].state is State.GOOD


def test_the_embedded_cloud_has_no_quotas_and_that_is_not_bad() -> None:
    cloud = aws()
    cloud.cloud = "local"
    cloud.answers["describe_instance_type_offerings"] = {"InstanceTypeOfferings": []}
    checks = check_instance_type(cloud, "g6.xlarge")
    assert {check.state for check in checks} == {State.UNKNOWN}


def test_spot_instances_count_against_a_quota_of_their_own() -> None:
    assert quota_of("g6", spot=True).name == "All G and VT Spot Instance Requests"
    cloud = aws()
    spot = {"QuotaCode": "L-3819A6DF", "Value": 4.0}
    cloud.answers["list_service_quotas"]["Quotas"].append(spot)
    for count, state in ((1, State.GOOD), (2, State.BAD)):
        checks = by_name(check_instance_type(cloud, "g6.xlarge", spot=True, count=count))
        assert checks["vCPU quota"].state is state


@pytest.mark.parametrize(
    ("family", "code"),
    [
        ("g4dn", "L-DB2E81BA"),
        ("vt1", "L-DB2E81BA"),
        ("p4d", "L-417A185B"),
        ("c7i", "L-1216C47A"),
        ("i4i", "L-1216C47A"),
        ("d3", "L-1216C47A"),
        ("inf2", "L-1945791B"),
        ("trn1", "L-2C3B7624"),
        ("dl1", "L-6E869C2A"),
    ],
)
def test_each_family_counts_against_its_own_quota(family: str, code: str) -> None:
    assert quota_of(family).code == code


def machine(tmp_path: Path, **changes: Any) -> dict[str, Check]:
    (tmp_path / "node_modules" / ".bin").mkdir(parents=True, exist_ok=True)
    (tmp_path / "node_modules" / ".bin" / "cdk").touch()
    values: dict[str, Any] = {
        "checkout": tmp_path,
        "python": (3, 12, 1),
        "node": lambda: "v22.1.0",
        "free_bytes": lambda _: 50_000_000_000,
        **changes,
    }
    return {check.name: check for check in check_this_machine(**values)}


def test_a_machine_with_all_it_needs_is_good(tmp_path: Path) -> None:
    assert worst(machine(tmp_path).values()) is State.GOOD


@pytest.mark.parametrize(
    ("change", "name", "state"),
    [
        ({"python": (3, 10, 2)}, "Python", State.BAD),
        ({"node": lambda: None}, "Node.js", State.BAD),
        ({"node": lambda: "v16.0.0"}, "Node.js", State.BAD),
        ({"node": lambda: "v20.20.2"}, "Node.js", State.WARNING),
        ({"node": lambda: ""}, "Node.js", State.BAD),
        ({"free_bytes": lambda _: 5_000_000_000}, "disk", State.WARNING),
        ({"free_bytes": lambda _: 1_000_000_000}, "disk", State.BAD),
    ],
)
def test_what_a_machine_lacks_is_named_with_a_remedy(
    change: dict[str, Any], name: str, state: State, tmp_path: Path
) -> None:
    check = machine(tmp_path, **change)[name]
    assert check.state is state
    assert check.remedy


def test_a_checkout_without_the_pinned_command_line_is_bad(tmp_path: Path) -> None:
    checks = check_this_machine(checkout=tmp_path, node=lambda: "v22.0.0")
    assert {c.name: c.state for c in checks}["CDK command line"] is State.BAD


@pytest.mark.parametrize(
    ("module", "state"),
    [("aws_cdk", State.BAD), ("torch", State.BAD), ("locust", State.WARNING)],
)
def test_a_library_that_is_not_installed_is_named_with_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, module: str, state: State
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == module else find(name)
    )
    check = machine(tmp_path)["libraries"]
    assert check.state is state
    assert check.detail == f"not installed: {module}"
    assert "visionstack[all]" in str(check.remedy)


def test_checks_are_plain_json() -> None:
    assert json.loads(json.dumps(Check("a", State.GOOD, "b").to_json()))["state"] == "good"


def concurrency(unreserved: int, limit: int | None = None) -> FakeCloud:
    found = {
        "ConcurrentExecutions": limit or unreserved,
        "UnreservedConcurrentExecutions": unreserved,
    }
    return aws(get_account_settings={"AccountLimit": found})


@pytest.mark.parametrize(
    ("unreserved", "settings", "state"),
    [
        (10, {"reserved_concurrency": 10}, State.BAD),
        (10, {"cold_start": "provisioned"}, State.BAD),
        (1000, {"reserved_concurrency": 900}, State.GOOD),
        (1000, {"reserved_concurrency": 901}, State.BAD),
        (1000, {"cold_start": "provisioned"}, State.GOOD),
        (110, {"cold_start": "provisioned", "warm_hours": ("9-18=11",)}, State.BAD),
    ],
)
def test_lambda_keeps_a_hundred_executions_for_functions_without_a_reservation(
    unreserved: int, settings: dict[str, Any], state: State
) -> None:
    (check,) = check_concurrency(concurrency(unreserved), DeploymentSettings(**settings))
    assert check.state is state
    if state is State.BAD:
        assert "L-B99A9384" in str(check.remedy)


def test_doctor_tells_what_lambdas_limit_would_refuse(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = DeploymentSettings(cold_start="provisioned")
    cloud = concurrency(10)
    monkeypatch.setattr("visionstack.packaging.build.settings_from", lambda _: settings)
    monkeypatch.setattr("visionstack.cloud.deployment.connect", lambda **_: cloud)
    done = CliRunner().invoke(app, ["doctor", "--json", "--cloud", "aws"])

    checks = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    assert checks["Lambda concurrency"]["state"] == "bad"
    assert done.exit_code == 1


def test_a_plan_without_reservations_asks_nothing_of_lambdas_limit() -> None:
    cloud = concurrency(10)
    assert check_concurrency(cloud, DeploymentSettings()) == []
    assert cloud.asked == []


def test_a_comparison_runs_the_types_that_fit_the_quota_together_and_names_the_others(
    tmp_path: Path,
) -> None:
    names = ("g4dn.xlarge", "g6.xlarge", "g5.xlarge")
    cloud: Any = aws(
        describe_instance_type_offerings={
            "InstanceTypeOfferings": [
                {"InstanceType": name, "Location": "us-east-1a"} for name in names
            ]
        },
        get_parameter={"Parameter": {"Value": "ami-1"}},
    )
    cloud.region = "us-east-1"
    picture = tmp_path / "dog.jpg"
    picture.write_bytes(b"a picture")
    manifest = SimpleNamespace(
        name="toy",
        version="1",
        task="classify",
        weights=SimpleNamespace(trained=True, description="official"),
        files={},
    )
    record = _plan(
        Request(instance_types=names, picture=picture),
        SimpleNamespace(manifest=manifest),  # type: ignore[arg-type]
        cloud,
        run="r1",
    )
    assert [row.reason is None for row in record.rows] == [True, True, False]
    assert "8 vCPUs allowed, 12 needed" in str(record.rows[2].reason)
