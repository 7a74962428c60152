from __future__ import annotations

import threading
from typing import Any

import pytest

from runtime.classifier.errors import ModelUnavailableError
from runtime.classifier.model import ModelHost


def test_a_model_is_loaded_once(host: ModelHost, models: Any) -> None:
    assert host.current() is host.current()
    assert models.loads == 1


def test_calls_that_come_at_once_load_one_model(host: ModelHost, models: Any) -> None:
    threads = [threading.Thread(target=host.current) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert models.loads == 1


def test_a_replaced_model_is_served_after_a_refresh_and_the_old_one_discarded(
    host: ModelHost, models: Any
) -> None:
    host.current()
    models.current = "v2"
    host.refresh(at_once=True)
    assert host.current().version == "v2"
    assert models.discarded == ["v1"]


def test_a_damaged_replacement_is_refused_and_the_old_model_kept(
    host: ModelHost, models: Any
) -> None:
    old = host.current()
    models.current, models.damaged = "v2", {"v2"}
    host.refresh(at_once=True)
    assert host.current() is old
    assert host.last_failure == "v2 is damaged"
    assert models.discarded == []
    models.damaged = set()
    host.refresh(at_once=True)
    assert host.current().version == "v2"
    assert host.last_failure is None


def test_the_pointer_is_not_asked_for_on_every_call(models: Any) -> None:
    now = [0.0]
    host = ModelHost(models, clock=lambda: now[0], refresh_seconds=60)
    host.current()
    models.current = "v2"
    now[0] = 59.0
    host.refresh()
    assert host.current().version == "v1"
    now[0] = 61.0
    host.refresh()
    assert host.current().version == "v2"


def test_a_model_is_replaced_while_calls_run_and_no_call_mixes_the_two(
    function: Any, host: ModelHost, models: Any, pictures: Any, picture: Any
) -> None:
    pictures.pictures["a.jpg"] = picture(110)
    event = {"method": "classification", "file_path": "a.jpg"}
    answers: list[dict[str, Any]] = []
    stop = threading.Event()

    def call() -> None:
        while not stop.is_set():
            answers.append(function.handle(event, None))

    callers = [threading.Thread(target=call) for _ in range(3)]
    for caller in callers:
        caller.start()
    for number in range(2, 12):
        models.current = f"v{number}"
        host.refresh(at_once=True)
    stop.set()
    for caller in callers:
        caller.join()
    assert function.handle(event, None)["model"]["version"] == "v11"
    assert {answer["TOP1_ID"] for answer in answers} == {"3"}


def test_a_missing_model_is_asked_for_again(host: ModelHost, models: Any) -> None:
    models.current = ""
    with pytest.raises(ModelUnavailableError, match="there is no model"):
        host.current()
    models.current = "v1"
    assert host.current().version == "v1"
