"""What a setting is when nothing is said, what is no value of it, and what goes together."""

from __future__ import annotations

import re
from pathlib import Path

import pydantic
import pytest
from botocore.loaders import Loader

from stacks.errors import SettingsError
from stacks.settings.fields import LOG_RETENTION_DAYS, SettingFields
from stacks.settings.model import DeploymentSettings
from stacks.settings.rules import contradictions

PAGE = Path(__file__).parents[2] / "docs" / "settings.md"


def settings(**values: object) -> DeploymentSettings:
    return DeploymentSettings.from_context({name: str(value) for name, value in values.items()})


def refused(**values: object) -> str:
    with pytest.raises(SettingsError) as error:
        settings(**values)
    return str(error.value)


DOCUMENTED = re.findall(r"^\| `(\w+)` \| `([^`]*)` \|", PAGE.read_text(), re.MULTILINE)


@pytest.mark.parametrize(("name", "written"), DOCUMENTED)
def test_the_default_is_the_one_on_the_page(name: str, written: str) -> None:
    found = getattr(SettingFields(), name)
    if isinstance(found, bool):
        assert str(found).lower() == written
    elif isinstance(found, tuple):
        assert (",".join(found) or "(none)") == written
    else:
        assert (written if found is not None else "(none)") == written
        if found is not None:
            assert str(found) == written or float(found) == float(written)


def test_every_setting_is_on_the_page() -> None:
    assert [name for name, _ in DOCUMENTED] == list(SettingFields.model_fields)


def test_log_retention_is_what_cloudwatch_logs_takes() -> None:
    """AWS's own words on PutRetentionPolicy's `retentionInDays`, as boto3 brings them."""
    shape = Loader().load_service_model("logs", "service-2")["shapes"]["Days"]  # type: ignore[no-untyped-call]
    words = re.sub("<[^>]*>", " ", shape["documentation"]).split("Possible values are:")[1]
    listed = words.split(".")[0]
    assert tuple(map(int, re.findall(r"\d+", listed))) == LOG_RETENTION_DAYS
    for days in LOG_RETENTION_DAYS:
        assert settings(log_retention_days=days).log_retention_days == days
    assert "log_retention_days" in refused(log_retention_days=2)


def test_settings_cannot_be_changed_and_a_name_that_there_is_not_is_no_setting() -> None:
    with pytest.raises(pydantic.ValidationError, match="frozen"):
        SettingFields().zones = 3  # type: ignore[misc]
    with pytest.raises(pydantic.ValidationError, match="Extra"):
        SettingFields(zone=3)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("seconds", "allowed"), [(0, True), (300, True), (-1, False), (301, False)]
)
def test_the_logs_bucket_settles_for_five_minutes_at_most(seconds: int, allowed: bool) -> None:
    if allowed:
        assert settings(log_settle_seconds=seconds).log_settle_seconds == seconds
    else:
        assert "log_settle_seconds" in refused(log_settle_seconds=seconds)


@pytest.mark.parametrize(("wanted", "allowed"), [(0, True), (100, True), (-1, False), (101, False)])
def test_instances_desired_is_0_to_100_where_the_others_leave_room(
    wanted: int, allowed: bool
) -> None:
    room = {"instances_min": 0, "instances_max": 100, "instances_desired": wanted}
    if allowed:
        assert settings(**room).instances_desired == wanted
    else:
        assert "instances_desired" in refused(**room)


def test_nothing_is_a_value_of_what_may_be_left_out() -> None:
    assert settings(instances_desired="").instances_desired is None
    assert settings(reserved_concurrency="").reserved_concurrency is None
    assert settings(ami_id="").ami_id is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("availability_zones", "us-east-1a"),
        ("availability_zones", "us-east-1a,us-east-1a"),
        ("availability_zones", "us-east-1a,us-west-2a"),
        ("availability_zones", "us-west-2-lax-1a,us-west-2a"),
        ("availability_zones", "us-east-1,us-east-1a"),
        ("instance_types", "c7i.xlarge,c7i.xlarge"),
        ("extra_instance_types", "c7i.2xlarge,c7i.2xlarge"),
        ("allowed_cidrs", "10.0.0.1/8"),
        ("allowed_cidrs", "203.0.113.7/32,here"),
        ("classifier_model", "a b"),
        ("classifier_model", "a/b"),
        ("stream_model", "good,b@d"),
        ("stream_model", ""),
        ("comparison_scenarios", "single-stream,burst"),
        ("warm_hours", "9-18=8,noon"),
    ],
)
def test_what_is_no_value_is_refused_by_its_setting(name: str, value: str) -> None:
    assert name in refused(**{name: value})


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("availability_zones", "", ()),
        ("availability_zones", "us-east-1a, us-east-1b", ("us-east-1a", "us-east-1b")),
        ("availability_zones", "us-gov-west-1a,us-gov-west-1b,us-gov-west-1c",
         ("us-gov-west-1a", "us-gov-west-1b", "us-gov-west-1c")),
        ("allowed_cidrs", "203.0.113.7/32,10.0.0.0/8", ("203.0.113.7/32", "10.0.0.0/8")),
        ("stream_model", "yolov3-tiny,my_own.v2", ("yolov3-tiny", "my_own.v2")),
        ("classifier_model", "efficientnet-lite0", "efficientnet-lite0"),
        ("comparison_scenarios", "single-stream", ("single-stream",)),
    ],
)  # fmt: skip
def test_what_is_a_value_is_taken(name: str, text: str, value: object) -> None:
    assert getattr(settings(**{name: text}), name) == value


@pytest.mark.parametrize(
    ("values", "storage", "timeout"),
    [
        ({}, 512, 30),
        ({"packaging": "s3-packages", "cold_start": "none"}, 3072, 120),
        ({"lambda_storage_mib": 600, "lambda_timeout_seconds": 45}, 600, 45),
        ({"packaging": "s3-packages", "lambda_storage_mib": 4000, "lambda_timeout_seconds": 60,
          "cold_start": "none"}, 4000, 60),
    ],
)  # fmt: skip
def test_storage_and_time_out_are_the_packagings_unless_they_are_named(
    values: dict[str, object], storage: int, timeout: int
) -> None:
    made = settings(**values)
    assert (made.storage_mib, made.timeout_seconds) == (storage, timeout)


def test_the_warmers_targets_are_by_the_hour() -> None:
    made = settings(warm_target=4, warm_spare=2, warm_hours="9-18=8,22-6=1")
    assert made.warm_targets() == {"default": 4, "hours": {"9-18": 8, "22-6": 1}, "spare": 2}


@pytest.mark.parametrize(
    "values",
    [
        # Just at the bound, or the one without the other.
        {"scale_on": "EngineBusyShare", "scale_target": 1},
        {"scale_on": "FramesWaiting", "scale_target": 3},
        {"cold_start": "snapstart", "lambda_storage_mib": 512},
        {"cold_start": "none", "lambda_storage_mib": 1024},
        {"cold_start": "none", "packaging": "s3-packages", "lambda_timeout_seconds": 60},
        {"lambda_timeout_seconds": 59},
        {"stream_host": "stream.example.com"},
        {"allowed_cidrs": "0.0.0.0/1"},
        {"cold_start": "provisioned", "warm_hours": "22-6=1"},
        {"cold_start": "warmer", "warm_hours": "22-6=0"},
        {"cold_start": "warmer", "warm_hours": "9-18=2,18-22=3,22-9=1", "warm_target": 2},
        {"cold_start": "warmer", "reserved_concurrency": 8, "warm_hours": "9-18=8"},
        {"cold_start": "none", "reserved_concurrency": 1},
        {"instance_types": "c7i.xlarge,c7g.xlarge"},
        {"instance_types": "c7i.xlarge,c7i.2xlarge", "ami_id": "ami-12345678"},
        {"instance_type": "c7i.xlarge", "extra_instance_types": "c7i.2xlarge"},
        {"instances_min": 2, "instances_max": 2, "instances_desired": 2},
    ],
)
def test_settings_that_go_together_are_taken(values: dict[str, object]) -> None:
    assert contradictions(settings(**values)) == []


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"cold_start": "snapstart", "lambda_storage_mib": 513}, "makes it 513"),
        ({"packaging": "s3-packages", "cold_start": "none", "lambda_timeout_seconds": 59},
         "name 60 or more"),
        ({"scale_on": "EngineBusyShare", "scale_target": 1.001}, "no share"),
        ({"cold_start": "warmer", "reserved_concurrency": 7, "warm_hours": "9-18=8"},
         "8 environments"),
        ({"cold_start": "provisioned", "reserved_concurrency": 4}, "5 environments"),
        ({"warm_hours": "9-18=8,17-18=3"}, "an hour twice"),
        ({"warm_hours": "0-24=1,3-4=1"}, "an hour twice"),
        ({"extra_instance_types": "c7g.xlarge"}, "x86_64 and cpu too"),
        ({"allowed_cidrs": "10.0.0.0/8,0.0.0.0/0"}, "got '0.0.0.0/0'"),
        ({"instances_min": 2, "instances_max": 3, "instances_desired": 1}, "between 2 and 3"),
        ({"instances_min": 2, "instances_max": 3, "instances_desired": 4}, "between 2 and 3"),
    ],
)  # fmt: skip
def test_settings_just_beyond_what_goes_together_are_refused(
    values: dict[str, object], words: str
) -> None:
    assert words in refused(**values)


def test_every_contradiction_is_told_and_not_only_the_first() -> None:
    said = refused(
        instances_min=3,
        instances_max=2,
        stream_port=8443,
        cold_start="provisioned",
        warm_hours="22-6=0",
    )
    for part in ("instances_min=3", "both 8443", "got a 0"):
        assert part in said


def test_the_fewest_instances_have_a_bound_of_their_own() -> None:
    """Not only that of instances_max, which they may not exceed."""
    assert SettingFields(instances_min=100).instances_min == 100
    with pytest.raises(pydantic.ValidationError, match="instances_min"):
        SettingFields(instances_min=101)
