"""A background task's error is told and the task goes on; it never breaks the server's stop."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from runtime.inference.store import Current
from runtime.streaming import __main__ as program
from runtime.streaming import server as serving
from runtime.streaming.errors import ModelUnavailableError
from runtime.streaming.host.instance import Leaving
from runtime.streaming.host.log_shipping import LogShipper
from runtime.streaming.models import ArtifactSource
from runtime.streaming.supervision import cancelled, supervised
from tests.unit.streaming.conftest import FakeSource, ServerFactory, make_server
from tests.unit.streaming.test_reloading import Bucket, source_over, until


class Flaky:
    """A job that fails so many times before it returns."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.runs = 0

    async def __call__(self) -> int:
        self.runs += 1
        if self.runs <= self.failures:
            raise ValueError(f"failure {self.runs}")
        return self.runs


async def test_a_job_is_started_again_until_it_returns(caplog: pytest.LogCaptureFixture) -> None:
    step = Flaky(3)

    assert await supervised("a job", step, first_pause=0.001) == 4

    told = [record for record in caplog.records if record.exc_info]
    assert [str(record.exc_info[1]) for record in told if record.exc_info] == [
        "failure 1",
        "failure 2",
        "failure 3",
    ]
    assert {record.task for record in told} == {"a job"}  # type: ignore[attr-defined]


async def test_the_pause_doubles_up_to_the_longest(caplog: pytest.LogCaptureFixture) -> None:
    await supervised("a job", Flaky(4), first_pause=0.001, longest_pause=0.003)

    pauses = [record.pause_seconds for record in caplog.records]  # type: ignore[attr-defined]
    assert pauses == [0.001, 0.002, 0.003, 0.003]


async def test_a_run_that_lasted_starts_the_pauses_anew(caplog: pytest.LogCaptureFixture) -> None:
    runs = 0

    async def step() -> None:
        nonlocal runs
        runs += 1
        if runs == 3:
            await asyncio.sleep(0.05)
        if runs <= 3:
            raise ValueError

    await supervised("a job", step, first_pause=0.001, longest_pause=0.02)

    pauses = [record.pause_seconds for record in caplog.records]  # type: ignore[attr-defined]
    assert pauses == [0.001, 0.002, 0.001]


async def test_cancelling_ends_a_job_that_runs_one_that_pauses_and_one_that_failed() -> None:
    async def runs() -> None:
        await asyncio.Event().wait()

    async def fails() -> None:
        raise ValueError("already over")

    tasks = [
        asyncio.create_task(supervised("runs", runs)),
        asyncio.create_task(supervised("pauses", fails, first_pause=60)),
        asyncio.create_task(fails()),
    ]
    await asyncio.sleep(0.01)

    await cancelled(tasks)

    assert all(task.done() for task in tasks)


def test_a_current_that_is_not_utf8_is_a_model_that_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "current").write_bytes(b"\xff\xfe1\x00")

    with pytest.raises(ModelUnavailableError, match="model version"):
        ArtifactSource(folder=tmp_path, engine="auto").wanted("m")


@pytest.mark.parametrize("text", [b"", b"../../etc", b"a/b", b"\x00"])
def test_a_current_that_names_no_version_is_refused(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "current").write_bytes(text)

    with pytest.raises(ModelUnavailableError):
        ArtifactSource(folder=tmp_path, engine="auto").wanted("m")
    with pytest.raises(ModelUnavailableError):
        source_over(Bucket({"models/m/current": text}), tmp_path).wanted("m")


class Surprising(FakeSource):
    """Raises what nobody expects while `surprise` is set, for one of its models."""

    surprise: Exception | None = None

    def wanted(self, name: str) -> Current:
        if name == "odd" and self.surprise is not None:
            raise self.surprise
        return super().wanted(name)


async def test_reloading_goes_on_after_an_error_that_nobody_expected(
    running: ServerFactory, caplog: pytest.LogCaptureFixture
) -> None:
    source = Surprising(names=("odd", "even"))
    async with running(source=source, reload_seconds=0.02) as one:
        loaded = one.server.metrics.reloads.labels
        source.surprise = UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")
        source.versions = {"odd": "2", "even": "2"}
        await until(lambda: loaded("even", "loaded")._value.get() == 1)
        assert any(record.exc_info for record in caplog.records)

        source.surprise = None
        await until(lambda: loaded("odd", "loaded")._value.get() == 1)


async def test_a_task_of_the_server_that_fails_goes_on_and_does_not_break_the_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = Flaky(1)

    async def watch(*args: Any, **kwargs: Any) -> None:
        await watched()

    monkeypatch.setattr(serving.Follower, "watch", watch)
    server = make_server(tmp_path)
    await server.start()
    await until(lambda: watched.runs == 2)
    watched.failures = 10**6
    await asyncio.sleep(0)

    await server.stop()

    assert all(task.done() for task in server._tasks)


async def test_a_failing_watch_for_the_instances_notice_does_not_end_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = Flaky(1)

    async def leaving(metadata: Any) -> Leaving:
        await watched()
        return Leaving("the group ends this instance", hook=False)

    monkeypatch.setattr(program, "leaving", leaving)

    notice = await program._first(asyncio.Event(), asyncio.Event(), SimpleNamespace())

    assert notice == Leaving("the group ends this instance", hook=False)
    assert watched.runs == 2


def test_a_line_that_cannot_be_formatted_does_not_reach_who_logs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(logging, "raiseExceptions", False)
    shipper = LogShipper(SimpleNamespace(), group="g", stream="s")
    logger = logging.Logger("odd")
    logger.addHandler(shipper)
    try:
        logger.warning("%d frames", "many")
    finally:
        monkeypatch.setattr(shipper, "ship", lambda: None)
        shipper.close()
