"""What doctor says of machines, accounts and instance types, asked of fakes."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError

from stacks.catalog import Catalog
from visionstack.doctor.aws import check_account, check_instance_type, quota_name
from visionstack.doctor.checks import Check, State, check_this_machine, worst


def refusal(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": code}}, "Ask")


@dataclass
class FakeCloud:
    """Answers by service and call; an exception among the answers is raised."""

    answers: dict[str, Any]
    cloud: str = "aws"
    asked: list[str] = field(default_factory=list)

    def client(self, service: str) -> Any:
        def call(name: str) -> Callable[..., Any]:
            def answer(**_: Any) -> Any:
                self.asked.append(f"{service}.{name}")
                value = self.answers[name]
                if isinstance(value, Exception):
                    raise value
                return value

            return answer

        pages = SimpleNamespace(paginate=lambda **_: [call("list_service_quotas")()])
        return SimpleNamespace(
            meta=SimpleNamespace(region_name="us-east-1"),
            get_paginator=lambda _: pages,
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
                {"QuotaName": "Running On-Demand G and VT instances", "Value": 8.0},
                {
                    "QuotaName": "Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances",
                    "Value": 32.0,
                },
            ]
        },
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
    quotas = {"Quotas": [{"QuotaName": "Running On-Demand G and VT instances", "Value": value}]}
    check = by_name(check_instance_type(aws(list_service_quotas=quotas), "g6.xlarge"))["vCPU quota"]
    assert check.state is State.BAD
    assert f"{value:.0f} vCPUs allowed, 4 needed" in check.detail
    assert check.remedy is not None


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
    types = Catalog.load()
    assert quota_name(types["g6.xlarge"], spot=True) == "All G and VT Spot Instance Requests"
    cloud = aws()
    spot = {"QuotaName": "All G and VT Spot Instance Requests", "Value": 4.0}
    cloud.answers["list_service_quotas"]["Quotas"].append(spot)
    for count, state in ((1, State.GOOD), (2, State.BAD)):
        checks = by_name(check_instance_type(cloud, "g6.xlarge", spot=True, count=count))
        assert checks["vCPU quota"].state is state


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("g4dn.xlarge", "G and VT"),
        ("p4d.24xlarge", "P instances"),
        ("c7i.xlarge", "Standard"),
        ("m7g.large", "Standard"),
    ],
)
def test_each_family_counts_against_its_own_quota(name: str, word: str) -> None:
    catalog = Catalog.load()
    if name in catalog:
        assert word in quota_name(catalog[name])


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


def test_checks_are_plain_json() -> None:
    assert json.loads(json.dumps(Check("a", State.GOOD, "b").to_json()))["state"] == "good"
