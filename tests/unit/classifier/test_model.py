from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pytest

from runtime.classifier.environment import has_room_for_a_second_model
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


def test_a_replaced_model_is_served_after_a_refresh(host: ModelHost, models: Any) -> None:
    host.current()
    models.current = "v2"
    host.refresh(at_once=True)
    assert host.current().version == "v2"


def test_a_damaged_replacement_is_refused_and_the_old_model_kept(
    host: ModelHost, models: Any
) -> None:
    old = host.current()
    models.current, models.damaged = "v2", {"v2"}
    host.refresh(at_once=True)
    assert host.current() is old
    assert host.last_failure == "v2 is damaged"
    models.damaged = set()
    host.refresh(at_once=True)
    assert host.current().version == "v2"
    assert host.last_failure is None


def test_a_model_that_started_fast_is_loaded_again_for_fast_calls_once(
    host: ModelHost, models: Any
) -> None:
    quick = host.current()
    host.refresh(at_once=True)
    optimised = host.current()
    host.refresh(at_once=True)
    assert (quick.optimised, optimised.optimised) == (False, True)
    assert host.current() is optimised
    assert models.loads == 2


def test_a_function_without_memory_for_a_second_model_keeps_the_first(models: Any) -> None:
    host = ModelHost(models, may_optimise=lambda: False)
    quick = host.current()
    host.refresh(at_once=True)
    assert host.current() is quick
    models.current = "v2"
    host.refresh(at_once=True)
    assert host.current().version == "v2"


@pytest.mark.parametrize(("resident_mib", "room"), [(200, True), (210, False)])
def test_there_is_room_for_a_second_model_below_two_fifths_of_the_memory(
    tmp_path: Path, resident_mib: int, room: bool
) -> None:
    statm = tmp_path / "statm"
    statm.write_text(f"999999 {resident_mib * 1024 * 1024 // os.sysconf('SC_PAGE_SIZE')} 1 1 0 1 0")
    assert has_room_for_a_second_model(512, statm=statm) is room
    assert has_room_for_a_second_model(100_000)


def test_an_environment_that_lives_on_without_wakeups_is_settled_at_its_first_look(
    models: Any,
) -> None:
    now = [0.0]
    host = ModelHost(models, clock=lambda: now[0], refresh_seconds=60)
    host.current()
    now[0] = 59.0
    host.refresh()
    assert not host.current().optimised
    now[0] = 61.0
    host.refresh()
    assert host.current().optimised


def test_a_model_that_cannot_be_settled_is_served_as_it_is(host: ModelHost, models: Any) -> None:
    quick = host.current()
    models.damaged = {"v1"}
    host.refresh(at_once=True)
    assert host.current() is quick
    assert host.last_failure == "v1 is damaged"


def test_a_model_loaded_when_nobody_waits_is_settled_from_the_beginning(host: ModelHost) -> None:
    assert host.current(optimised=True).optimised


def test_a_restored_snapshot_asks_for_a_newer_model_with_its_next_call(models: Any) -> None:
    host = ModelHost(models, clock=lambda: 0.0)
    host.current()
    models.current = "v2"
    host.refresh()
    assert host.current().version == "v1"
    host.restored()
    host.refresh()
    assert host.current().version == "v2"


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


def test_the_packaged_version_serves_at_once_and_the_published_one_after_the_first_call(
    request: pytest.FixtureRequest, models: Any, pictures: Any, picture: Any
) -> None:
    pictures.pictures["a.jpg"] = picture(110)
    models.packaged, models.current = "v1", "v2"
    function = request.getfixturevalue("function")
    event = {"method": "classification", "file_path": "a.jpg"}
    assert function.handle(event, None)["model"]["version"] == "v1"
    for thread in threading.enumerate():
        if thread.name == "model-refresh":
            thread.join()
    assert function.handle(event, None)["model"]["version"] == "v2"


def test_a_packaged_version_that_is_current_is_loaded_once(models: Any) -> None:
    now = [0.0]
    host = ModelHost(models, clock=lambda: now[0], refresh_seconds=60)
    models.packaged = "v1"
    host.current()
    host.refresh()
    assert models.loads == 1
    now[0] = 61.0
    host.refresh()
    assert (models.loads, host.current().optimised) == (2, True)


@pytest.mark.parametrize("wait", [False, True])
def test_a_call_waits_for_the_current_version_only_where_it_is_told_to(
    models: Any, wait: bool
) -> None:
    now = [0.0]
    host = ModelHost(models, clock=lambda: now[0], refresh_seconds=60, wait_for_current=wait)
    models.packaged, models.current = "v1", "v2"
    assert host.current().version == ("v2" if wait else "v1")
    models.current = "v3"
    assert host.current().version == ("v3" if wait else "v1")
    assert not host.current().optimised
    now[0] = 61.0
    host.refresh()
    assert host.current().version == "v3"
    models.current = "v1"
    assert host.current().version == ("v1" if wait else "v3")


def test_a_damaged_version_is_not_waited_for_by_every_call(models: Any) -> None:
    now = [0.0]
    host = ModelHost(models, clock=lambda: now[0], refresh_seconds=60, wait_for_current=True)
    host.current()
    models.current, models.damaged = "v2", {"v2"}
    assert [host.current().version for _ in range(5)] == ["v1"] * 5
    assert models.loads == 2
    now[0] = 61.0
    models.damaged = set()
    assert host.current().version == "v2"


def test_a_pointer_that_could_not_be_read_at_the_start_is_asked_for_by_the_next_call(
    models: Any,
) -> None:
    host = ModelHost(models, wait_for_current=True)
    models.packaged, models.current = "v1", ""
    assert host.current().version == "v1"
    models.current = "v2"
    assert host.current().version == "v2"


def test_nobody_waits_for_an_environment_made_ahead_so_it_takes_the_current_version(
    host: ModelHost, models: Any
) -> None:
    models.packaged, models.current = "v1", "v2"
    assert host.current(optimised=True).version == "v2"


@pytest.mark.parametrize("trouble", ["not answering", "damaged"])
def test_the_packaged_version_stands_in_for_one_that_cannot_be_had(
    models: Any, trouble: str
) -> None:
    host = ModelHost(models, wait_for_current=True)
    models.packaged, models.current = "v1", "" if trouble == "not answering" else "v2"
    models.damaged = {"v2"}
    assert host.current().version == "v1"
    assert host.last_failure
    models.current, models.damaged = "v2", set()
    host.refresh(at_once=True)
    assert host.current().version == "v2"


def test_a_damaged_package_is_no_reason_not_to_serve(host: ModelHost, models: Any) -> None:
    models.packaged, models.damaged, models.current = "v1", {"v1"}, "v2"
    assert host.current().version == "v2"
