"""A version that is tried on a share of the pictures, as the function serves it."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from runtime.classifier.model import ModelHost, ServedModel
from runtime.inference.store import Canary

PICTURES = [f"picture {number}".encode() for number in range(1000)]


def answered_by(host: ModelHost) -> list[str]:
    """The version that each of `PICTURES` is answered by, a call after the other."""
    return [host.serving().model_for(one).version for one in PICTURES]


def test_a_canary_answers_its_share_of_the_pictures_and_the_same_ones_again(models: Any) -> None:
    host = ModelHost(models, wait_for_current=True)
    models.canary = Canary("v2", 0.1)
    first = answered_by(host)
    # 99.99 % of shares drawn so lie within four standard deviations, 3.8 % here; these are fixed.
    assert first.count("v2") == pytest.approx(100, abs=38)
    assert set(first) == {"v1", "v2"}
    assert models.loads == 2
    assert answered_by(ModelHost(models, wait_for_current=True)) == first
    models.canary = Canary("v2", 0.4)
    more = answered_by(host)
    assert more.count("v2") == pytest.approx(400, abs=62)
    assert all(now == "v2" for now, before in zip(more, first, strict=True) if before == "v2")
    assert models.loads == 4  # two environments


def test_another_canary_is_tried_on_other_pictures() -> None:
    share = {
        version: {one for one in map(str, range(1000)) if Canary(version, 0.1).takes(one)}
        for version in ("v2", "v3")
    }
    assert len(share["v2"] & share["v3"]) < len(share["v2"]) / 2


def test_a_canary_that_becomes_current_is_not_loaded_again_and_an_ended_one_goes(
    models: Any,
) -> None:
    host = ModelHost(models, wait_for_current=True)
    models.canary = Canary("v2", 0.5)
    canary = host.serving().canary
    assert canary is not None
    models.current, models.canary = "v2", None
    assert host.serving().models == (canary,)
    models.canary = Canary("v3", 0.5)
    assert host.serving().canary is not None
    models.canary = None
    assert host.serving().models == (canary,)
    assert models.loads == 3


def test_a_canary_is_fetched_beside_a_call_and_until_then_the_current_version_answers(
    models: Any,
) -> None:
    now = [0.0]
    host = ModelHost(models, clock=lambda: now[0], refresh_seconds=60)
    models.canary = Canary("v2", 0.5)
    assert set(answered_by(host)) == {"v1"}
    host.refresh()
    assert set(answered_by(host)) == {"v1", "v2"}
    models.canary = None
    now[0] = 61.0
    host.refresh()
    assert set(answered_by(host)) == {"v1"}


@pytest.mark.parametrize("wait", [False, True])
def test_a_canary_that_cannot_be_had_leaves_the_current_version_alone(
    models: Any, wait: bool
) -> None:
    now = [0.0]
    host = ModelHost(models, clock=lambda: now[0], refresh_seconds=60, wait_for_current=wait)
    models.canary, models.damaged = Canary("v2", 0.5), {"v2"}
    for _ in range(3):
        assert set(answered_by(host)) == {"v1"}
        host.refresh()
    assert host.last_failure == "v2 is damaged"
    assert models.loads == 2
    models.damaged = set()
    now[0] = 61.0
    host.refresh()
    assert set(answered_by(host)) == {"v1", "v2"}
    assert host.last_failure is None


def test_without_memory_for_two_models_the_current_one_answers_all_and_the_log_says_why(
    models: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    host = ModelHost(models, wait_for_current=True, may_optimise=lambda: False)
    models.canary = Canary("v2", 0.5)
    assert set(answered_by(host)) == {"v1"}
    assert models.loads == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "v2 is not tried: this function has no memory for two models" in line
    models.current, models.canary = "v2", None
    assert set(answered_by(host)) == {"v2"}


def test_an_environment_made_ahead_has_its_canary_too(models: Any) -> None:
    models.canary = Canary("v2", 0.5)
    host = ModelHost(models)
    host.current(optimised=True)
    assert set(answered_by(host)) == {"v1", "v2"}


def test_a_canary_that_was_current_changes_places(models: Any) -> None:
    """v1 serves while v2 is promoted and v1 is tried again, before anybody looked."""
    host = ModelHost(models, wait_for_current=True)
    host.current()
    models.current, models.canary = "v2", Canary("v1", 0.3)
    answers = answered_by(host)
    assert answers.count("v1") == pytest.approx(300, abs=58)
    assert models.loads == 2


def test_versions_change_under_calls_and_no_picture_is_answered_by_a_third(models: Any) -> None:
    host = ModelHost(models)
    host.current()
    allowed = {"v1", "v2"}
    seen: set[str] = set()
    failed: list[BaseException] = []
    done = threading.Event()
    caller_has_run = threading.Event()

    def call() -> None:
        while not done.is_set():
            try:
                seen.update(answered_by(host))
            except BaseException as error:
                failed.append(error)
            caller_has_run.set()

    caller = threading.Thread(target=call)
    caller.start()
    try:
        for turn in range(50):
            models.canary = Canary("v2", 0.5) if turn % 2 else None
            host.refresh(at_once=True)
            serving = host.serving()
            assert isinstance(serving.model, ServedModel)
            assert len(serving.models) == 1 + turn % 2
            if turn % 2:  # a turn may be over before the other thread has run once
                caller_has_run.clear()
                assert caller_has_run.wait(30)
    finally:
        done.set()
        caller.join()
    assert failed == []
    assert seen == allowed
