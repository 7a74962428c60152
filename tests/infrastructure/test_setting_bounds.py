"""The least and the most of every number that can be set, written down apart from the settings.

Where AWS sets the bound its documentation is named; the others are this project's own choice, and a
change of one is a change of docs/settings.md.
"""

from __future__ import annotations

import pytest

from stacks.errors import SettingsError
from stacks.settings.model import DeploymentSettings

BOUNDS: dict[str, tuple[int, int]] = {
    # https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
    "lambda_memory_mib": (128, 10_240),
    "lambda_timeout_seconds": (3, 900),
    "lambda_storage_mib": (512, 10_240),
    # https://docs.aws.amazon.com/ebs/latest/userguide/general-purpose.html: 16 TiB
    "root_volume_gib": (8, 16_384),
    # Ports below 1024 want a privileged process; there are 16 bits of them.
    "stream_port": (1024, 65_535),
    "stream_http_port": (1024, 65_535),
    # Application and network load balancers want two zones; no region has more than six.
    "zones": (2, 6),
    "picture_expiry_days": (1, 365),
    "keep_for_training_days": (0, 365),
    "drain_seconds": (30, 3600),
    "reserved_concurrency": (1, 10_000),
    "throttle_rate": (1, 10_000),
    "throttle_burst": (1, 5_000),
    "quota_per_day": (1, 1_000_000_000),
    "upload_expires_seconds": (30, 3600),
    "folder_concurrency": (1, 1000),
    "warm_interval": (1, 60),
    "warm_target": (1, 200),
    "warm_spare": (0, 50),
    "warm_sleep_ms": (50, 5000),
    "comparison_minutes": (5, 480),
    "comparison_seconds": (1, 600),
    "instances_min": (0, 100),
    "instances_max": (1, 100),
}
FREE = {"cold_start": "none", "instances_min": "0", "instances_max": "100"}
"""Settings with which no other stands in the way."""


def value(key: str, number: float) -> object:
    return getattr(DeploymentSettings.from_context({**FREE, key: str(number)}), key)


@pytest.mark.parametrize(("key", "least", "most"), [(k, *bounds) for k, bounds in BOUNDS.items()])
def test_a_number_may_be_its_least_and_its_most_and_nothing_beyond(
    key: str, least: int, most: int
) -> None:
    assert (value(key, least), value(key, most)) == (least, most)
    for beyond in (least - 1, most + 1):
        with pytest.raises(SettingsError, match=key):
            value(key, beyond)


def test_a_second_of_comparison_may_be_cut_to_a_tenth_and_no_further() -> None:
    assert value("comparison_seconds", 0.1) == 0.1
    with pytest.raises(SettingsError, match="comparison_seconds"):
        value("comparison_seconds", 0.09)


def test_a_target_is_more_than_nothing_and_at_most_all_of_a_share() -> None:
    assert value("scale_target", 1) == 1
    for beyond in (0, 1.01):
        with pytest.raises(SettingsError, match="scale_target"):
            value("scale_target", beyond)
    waiting = {"scale_on": "FramesWaiting", "scale_target": "100000"}
    assert DeploymentSettings.from_context(waiting).scale_target == 100_000
    with pytest.raises(SettingsError, match="scale_target"):
        DeploymentSettings.from_context({**waiting, "scale_target": "100001"})


@pytest.mark.parametrize("wanted", [3, 4, 5])
def test_the_desired_number_of_instances_may_be_the_least_and_the_most(wanted: int) -> None:
    settings = DeploymentSettings.from_context(
        {"instances_min": "3", "instances_desired": str(wanted), "instances_max": "5"}
    )
    assert settings.instances_desired == wanted


@pytest.mark.parametrize("wanted", [2, 6])
def test_the_desired_number_of_instances_may_not_lie_beyond(wanted: int) -> None:
    with pytest.raises(SettingsError, match="must lie between 3 and 5"):
        DeploymentSettings.from_context(
            {"instances_min": "3", "instances_desired": str(wanted), "instances_max": "5"}
        )


def test_as_many_instances_at_least_as_at_most_is_no_contradiction() -> None:
    settings = DeploymentSettings.from_context({"instances_min": "2", "instances_max": "2"})
    assert settings.instances_min == settings.instances_max == 2


def test_what_is_reserved_may_be_just_what_is_kept_warm() -> None:
    settings = DeploymentSettings.from_context({"warm_target": "5", "reserved_concurrency": "5"})
    assert settings.reserved_concurrency == 5
