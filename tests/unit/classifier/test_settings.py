from __future__ import annotations

from pathlib import Path

import pytest

from runtime.classifier.settings import Settings, SettingsError
from runtime.contract import Env

NEEDED = {Env.ARTIFACTS_BUCKET: "a", Env.PICTURES_BUCKET: "p", Env.MODEL: "resnet50"}


def test_what_the_stack_does_not_set_has_a_default() -> None:
    settings = Settings.from_env(NEEDED)
    assert (settings.engine, settings.cold_start) == ("auto", "none")
    assert not settings.wait_for_current_model
    assert settings.task_root == Path("/var/task")


def test_the_first_of_several_models_is_served() -> None:
    assert Settings.from_env({**NEEDED, Env.MODEL: "a, b"}).model == "a"


@pytest.mark.parametrize("name", list(NEEDED))
def test_a_missing_variable_is_named(name: str) -> None:
    with pytest.raises(SettingsError, match=name):
        Settings.from_env({key: value for key, value in NEEDED.items() if key != name})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (Env.WAIT_FOR_CURRENT_MODEL, "yes"),
        (Env.COLD_START, "sometimes"),
        (Env.UPLOAD_EXPIRES_SECONDS, "0"),
        (Env.UPLOAD_EXPIRES_SECONDS, "3601"),
        (Env.UPLOAD_EXPIRES_SECONDS, "soon"),
    ],
)
def test_a_value_that_cannot_be_is_named_with_what_is_allowed(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=rf"{name} is '{value}'; allowed"):
        Settings.from_env({**NEEDED, name: value})


@pytest.mark.parametrize(
    ("memory_mb", "threads"), [(128, 1), (1769, 1), (2600, 1), (3008, 2), (3538, 2), (10240, 6)]
)
def test_threads_follow_the_processors_that_the_memory_size_buys(
    memory_mb: int, threads: int
) -> None:
    variables = {**NEEDED, "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(memory_mb)}
    assert Settings.from_env(variables).threads == threads
