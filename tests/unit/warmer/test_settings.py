from __future__ import annotations

import json

import pytest

from runtime.contract import Env
from runtime.warmer.errors import SettingsError
from runtime.warmer.handler import requested_target
from runtime.warmer.settings import Settings, Targets


def test_the_hour_of_the_day_decides_the_target() -> None:
    targets = Targets.from_json('{"default": 5, "hours": {"9-18": 8, "22-6": 1}}')
    assert {hour: targets.at(hour) for hour in (8, 9, 17, 18, 21, 22, 0, 5, 6)} == {
        8: 5, 9: 8, 17: 8, 18: 5, 21: 5, 22: 1, 0: 1, 5: 1, 6: 5,
    }  # fmt: skip


def test_one_spare_is_kept_unless_told_otherwise() -> None:
    assert Targets.from_json('{"default": 5}').spare == 1
    assert Targets.from_json('{"default": 5, "spare": 0}').spare == 0


@pytest.mark.parametrize(
    "text",
    ["", "5", "[]", "{}", '{"default": -1}', '{"default": "5"}', '{"default": true}',
     '{"default": 1000}', '{"default": 5, "hours": {"9": 1}}', '{"default": 5, "hours": [1]}',
     '{"default": 5, "hours": {"9-25": 1}}', '{"default": 5, "hours": {"9-18": null}}',
     '{"default": 5, "spare": -1}'],
)  # fmt: skip
def test_targets_that_cannot_be_are_refused_by_name(text: str) -> None:
    with pytest.raises(SettingsError, match=Env.WARM_TARGETS):
        Targets.from_json(text)


def test_settings_come_from_the_environment() -> None:
    settings = Settings.from_env(
        {
            Env.WARM_FUNCTION: "arn:alias",
            Env.WARM_TARGETS: json.dumps({"default": 3}),
            Env.WARM_SLEEP_MS: "800",
        }
    )
    assert (settings.function, settings.targets.default, settings.sleep_ms) == ("arn:alias", 3, 800)


@pytest.mark.parametrize("sleep", ["0", "-1", "5001", "soon", "٤"])
def test_a_sleep_that_cannot_be_is_refused_by_name(sleep: str) -> None:
    with pytest.raises(SettingsError, match=Env.WARM_SLEEP_MS):
        Settings.from_env({Env.WARM_FUNCTION: "f", Env.WARM_SLEEP_MS: sleep})


def test_a_missing_function_is_named() -> None:
    with pytest.raises(SettingsError, match=Env.WARM_FUNCTION):
        Settings.from_env({})


def test_an_event_may_ask_for_a_target_and_a_schedule_does_not() -> None:
    assert requested_target({"target": 3}) == 3
    assert requested_target({"source": "aws.events"}) is None
    assert requested_target(None) is None


@pytest.mark.parametrize("target", [-1, "3", 201, True, None])
def test_a_target_that_cannot_be_is_refused(target: object) -> None:
    with pytest.raises(SettingsError, match="target"):
        requested_target({"target": target})
