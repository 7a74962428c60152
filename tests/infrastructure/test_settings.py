from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import pytest
from pydantic.fields import FieldInfo

from runtime.contract import ColdStart
from runtime.measurement.scenario import Scenario
from stacks.catalog import Catalog
from stacks.errors import PackageMissingError, SettingsError, UnknownInstanceTypeError
from stacks.packages import PackageArchives
from stacks.settings.model import DeploymentSettings
from stacks.settings.sentences import allowed

CHECKOUT = Path(__file__).resolve().parents[2]


def sentences(**context: object) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as caught:
        DeploymentSettings.from_context(context)
    return caught.value.sentences


def test_cdk_json_holds_only_what_differs_from_the_defaults() -> None:
    context = json.loads((CHECKOUT / "cdk.json").read_text())["context"]
    defaults = DeploymentSettings().model_dump(mode="json")
    written = DeploymentSettings.from_context(context).model_dump(mode="json")
    assert {key for key in context["visionstack"] if written[key] == defaults[key]} == set()


def test_what_is_allowed_follows_from_type_and_bounds() -> None:
    fields = DeploymentSettings.model_fields
    assert allowed(fields["spot"]) == "true or false"
    assert allowed(fields["cold_start"]) == ", ".join(get_args(ColdStart))
    assert allowed(fields["folder_concurrency"]) == "1 to 1000"
    assert allowed(fields["reserved_concurrency"]) == "1 to 10000, or nothing"
    assert allowed(fields["comparison_scopes"]) == "picture, network, with commas"
    with pytest.raises(TypeError, match="words of its own"):
        allowed(FieldInfo(annotation=str))


def test_the_command_line_overrides_cdk_json() -> None:
    settings = DeploymentSettings.from_context(
        {"visionstack": {"instances_max": 3, "spot": True}, "instances_max": "5"}
    )
    assert (settings.instances_max, settings.spot) == (5, True)


def test_strings_become_lists_numbers_and_booleans() -> None:
    settings = DeploymentSettings.from_context(
        {
            "allowed_cidrs": "203.0.113.7/32, 198.51.100.0/24",
            "allow_any_cidr": "false",
            "scale_target": "0.5",
            "reserved_concurrency": "5",
            "ami_id": "",
        }
    )
    assert settings.allowed_cidrs == ("203.0.113.7/32", "198.51.100.0/24")
    assert not settings.allow_any_cidr
    assert (settings.scale_target, settings.reserved_concurrency) == (0.5, 5)
    assert settings.ami_id is None


def test_keys_that_belong_to_cdk_are_left_alone() -> None:
    settings = DeploymentSettings.from_context(
        {
            "@aws-cdk/core:stackRelativeExports": True,
            "aws:cdk:enable-path-metadata": True,
            "availability-zones:account=1:region=us-east-1": ["us-east-1a"],
            "acknowledged-issue-numbers": [1],
        }
    )
    assert settings == DeploymentSettings()


def test_an_unknown_setting_is_one_sentence_with_the_nearest_name() -> None:
    (sentence,) = sentences(instance_typ="g6.xlarge")
    assert sentence == (
        "instance_typ is not a setting of this project; did you mean instance_type?"
    )


def test_every_wrong_setting_gets_its_own_sentence() -> None:
    found = sentences(lambda_memory_mib="99", cold_start="hot", nonsense="1")
    assert len(found) == 3
    assert "lambda_memory_mib" in found[1] or "lambda_memory_mib" in found[0]


@pytest.mark.parametrize(
    ("key", "value", "parts"),
    [
        ("instance_type", "g9.xlarge", ["'g9.xlarge'", "not in the catalog", "g6.xlarge"]),
        ("instance_type", "p2.xlarge", ["'p2.xlarge'", "retired"]),
        ("instance_type", "p3.2xlarge", ["'p3.2xlarge'", "retired"]),
        ("instance_type", "inf2.xlarge", ["inferentia2", "no engine"]),
        ("instance_type", "t3.micro", ["memory"]),
        ("instance_type", "g7.2xlarge", ["g7.2xlarge", "ami_id"]),
        ("lambda_memory_mib", "99", ["'99'", "128 to 10240"]),
        ("lambda_python", "3.9", ["'3.9'", "3.13"]),
        ("lambda_python", "3.11", ["'3.11'", "3.12", "Amazon Linux 2"]),
        ("warm_target", "201", ["'201'", "1 to 200"]),
        ("cold_start", "hot", ["'hot'", "none, warmer, provisioned, snapstart"]),
        ("spot", "perhaps", ["'perhaps'", "true or false"]),
        ("log_retention_days", "8", ["'8'", "7, 14"]),
        ("allowed_cidrs", "10.0.0.1/8", ["10.0.0.1/8", "203.0.113.7/32"]),
        ("allowed_cidrs", "home", ["home", "IPv4"]),
        ("ami_id", "ubuntu", ["'ubuntu'", "ami-"]),
        ("certificate_arn", "mine", ["'mine'", "ARN"]),
        ("prefix", "Vision", ["'Vision'", "small letters"]),
        ("warm_hours", "9-25=3", ["9-25=3"]),
        ("warm_hours", "9-18=201", ["9-18=201"]),
        ("warm_hours", "daily", ["daily", "9-18=8"]),
        ("stream_model", "", ["with commas"]),
        ("stream_model", "../secrets", ["../secrets"]),
        ("availability_zones", "us-east-1a", ["two"]),
        ("availability_zones", "us-east-1a,us-east-1a", ["twice"]),
        ("availability_zones", "us-west-2a,us-west-2-lax-1a", ["us-west-2-lax-1a"]),
        ("availability_zones", "us-east-1a,eu-west-1b", ["one region"]),
        ("comparison_scenarios", "camera:0", ["camera:0", "single-stream"]),
        ("comparison_scenarios", "offline:5", ["offline:5", "server[:QPS]"]),
        ("comparison_scenarios", "server:\n5", ["no number", "server[:QPS]"]),
        ("comparison_scopes", "stream", ["stream", "picture, network"]),
        ("comparison_seconds", "0", ["0.1 to 600"]),
        ("instance_types", "t3.micro", ["t3.micro", "2048 MiB"]),
        ("alarm_email", "nobody", ["'nobody'", "e-mail"]),
    ],
)
def test_a_wrong_value_is_answered_with_the_key_the_value_and_what_is_allowed(
    key: str, value: str, parts: list[str]
) -> None:
    (sentence,) = sentences(**{key: value})
    assert sentence.startswith(key)
    assert "\n" not in sentence
    for part in parts:
        assert part in sentence


@pytest.mark.parametrize(
    ("context", "part"),
    [
        ({"allowed_cidrs": "0.0.0.0/0"}, "allow_any_cidr=true"),
        ({"instances_min": "3", "instances_max": "2"}, "instances_min=3 is more"),
        ({"instances_desired": "9"}, "between 1 and 2"),
        ({"scale_target": "3"}, "no share"),
        ({"stream_port": "8443"}, "both 8443"),
        (
            {"certificate_arn": "arn:aws:acm:us-east-1:123456789012:certificate/0a1b2c3d"},
            "needs stream_host",
        ),
        (
            {"cloudfront_page": "true", "cors_origin": "https://shop.example"},
            "are two origins",
        ),
        ({"cold_start": "warmer", "reserved_concurrency": "4"}, "5 environments"),
        ({"cold_start": "provisioned", "warm_hours": "22-6=0"}, "got a 0"),
        ({"warm_hours": "9-18=8,17-20=3"}, "an hour twice"),
        ({"warm_hours": "22-6=1,5-7=2"}, "an hour twice"),
        ({"warm_hours": "9-18=8,9-18=3"}, "an hour twice"),
        ({"cold_start": "snapstart", "lambda_storage_mib": "1024"}, "makes it 1024"),
        ({"packaging": "s3-packages", "lambda_timeout_seconds": "30"}, "name 60 or more"),
        ({"cold_start": "snapstart", "packaging": "s3-packages"}, "makes it 3072"),
        (
            {"cold_start": "provisioned", "reserved_concurrency": "2", "warm_hours": "9-18=8"},
            "8 environments",
        ),
        ({"extra_instance_types": "g6.xlarge"}, "cannot stand in"),
        ({"extra_instance_types": "c7i.xlarge"}, "another type"),
        ({"instance_types": "c7i.xlarge,c7g.xlarge", "ami_id": "ami-12345678"}, "architectures"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(context: dict[str, str], part: str) -> None:
    (sentence,) = sentences(**context)
    assert part in sentence


def test_the_whole_internet_may_be_let_in_by_a_second_setting() -> None:
    settings = DeploymentSettings.from_context(
        {"allowed_cidrs": "0.0.0.0/0", "allow_any_cidr": "true"}
    )
    assert settings.allowed_cidrs == ("0.0.0.0/0",)


def test_packages_follow_python_architecture_and_kind() -> None:
    settings = DeploymentSettings.from_context(
        {
            "instance_type": "g6.xlarge",
            "instance_types": "g6.xlarge,c7g.xlarge",
            "lambda_arch": "arm64",
            "lambda_python": "3.13",
            "lambda_wheels_python": "3.11",
            "packaging": "s3-packages",
        }
    )
    assert [str(target.folder) for target in settings.package_targets(Catalog.load())] == [
        "instance/3.12-x86_64-gpu",
        "instance/3.12-arm64-cpu",
        "lambda/classifier-3.11-arm64-s3-packages",
        "lambda/warmer-3.11-arm64",
    ]


def test_without_the_warmer_there_is_no_warmer_package() -> None:
    settings = DeploymentSettings.from_context({"cold_start": "none"})
    kinds = {target.kind for target in settings.package_targets(Catalog.load())}
    assert kinds == {"instance", "classifier"}


def test_a_missing_package_names_the_command_that_builds_it(tmp_path: Path) -> None:
    with pytest.raises(PackageMissingError, match=r"python -m visionstack\.packaging"):
        PackageArchives(tmp_path).archive(DeploymentSettings().classifier_package())


def test_settings_are_read_from_what_the_cdk_command_hands_over(tmp_path: Path) -> None:
    overflow = tmp_path / "context.json"
    overflow.write_text(json.dumps({"spot": "true"}))
    settings = DeploymentSettings.from_environment(
        {
            "CDK_CONTEXT_JSON": json.dumps({"visionstack": {"prefix": "mine"}}),
            "CONTEXT_OVERFLOW_LOCATION_ENV": str(overflow),
        },
        cdk_json=tmp_path / "absent.json",
    )
    assert (settings.prefix, settings.spot) == ("mine", True)


def test_without_the_cdk_command_cdk_json_speaks(tmp_path: Path) -> None:
    cdk_json = tmp_path / "cdk.json"
    cdk_json.write_text(json.dumps({"context": {"visionstack": {"prefix": "other"}}}))
    assert DeploymentSettings.from_environment({}, cdk_json=cdk_json).prefix == "other"
    cdk_json.write_text("{")
    with pytest.raises(SettingsError, match="cannot be read"):
        DeploymentSettings.from_environment({}, cdk_json=cdk_json)


def test_the_catalog_knows_architecture_and_accelerator() -> None:
    catalog = Catalog.load()
    g6 = catalog["g6.xlarge"]
    assert (g6.arch, g6.compute, g6.gpu, g6.gpu_count) == ("x86_64", "gpu", "l4", 1)
    assert (catalog["c7g.xlarge"].arch, catalog["c7g.xlarge"].compute) == ("arm64", "cpu")
    assert catalog["p3.2xlarge"].retired
    assert not catalog["p4d.24xlarge"].retired
    with pytest.raises(UnknownInstanceTypeError, match=r"did you mean .*g6\.xlarge"):
        catalog["g6.xlrage"]


def test_every_scenario_that_a_measurement_knows_can_be_deployed() -> None:
    names = ("single-stream", "multi-stream", "offline", "server", "server:50", "camera:29.97")
    settings = DeploymentSettings.from_context({"comparison_scenarios": ",".join(names)})
    assert settings.comparison_scenarios == names
    for name in names:
        assert Scenario.parse(name).name == name
