"""The compare command as it is typed."""

from __future__ import annotations

import json
import os
from pathlib import Path
from unittest.mock import Mock

import pytest
from typer.testing import CliRunner

from tests.unit.compare.conftest import Plan, result
from visionstack import paths
from visionstack.cli.main import app
from visionstack.compare.errors import MixedResultsError, RecordError, RowUsageError
from visionstack.compare.plan import MeasurementSize
from visionstack.errors import UsageError, VisionstackError

RUN = CliRunner()


def test_a_recorded_comparison_is_reported_again(plan: Plan, tmp_path: Path) -> None:
    record = plan(local=True)
    record.take(record.rows[0], result(record))
    record.save(tmp_path)
    done = RUN.invoke(app, ["compare", "report", str(tmp_path), "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["rows"][0]["status"] == "measured"
    for name in ("report.html", "report.md", "report.csv", "report.json"):
        assert (tmp_path / name).stat().st_size


def test_two_comparisons_of_different_versions_are_refused(plan: Plan, tmp_path: Path) -> None:
    first, second = plan(local=True), plan(local=True)
    second.version = "ffff"
    first.save(tmp_path / "a")
    second.save(tmp_path / "b")
    done = RUN.invoke(app, ["compare", "report", str(tmp_path / "a"), str(tmp_path / "b")])
    assert isinstance(done.exception, MixedResultsError)
    assert not (tmp_path / "a" / "report.html").exists()


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        (["run", "-i", "nope.large"], RowUsageError),
        (["run", "--lambda", "big"], RowUsageError),
        (["report", "--strategy", "luck"], SystemExit),
        (["report", "absent"], RecordError),
        (["resume", "--out", "absent"], RecordError),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_started(
    arguments: list[str], kind: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = RUN.invoke(app, ["compare", *arguments])
    assert isinstance(done.exception, kind)
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_starts_nothing_and_writes_nothing(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.unit.compare.conftest import artifact
    from visionstack.compare import session

    monkeypatch.setattr(session, "_artifact", lambda _model: artifact())
    out = tmp_path / "out"
    done = RUN.invoke(
        app,
        [
            *("compare", "run", "--local", "--dry-run", "--json", "--out", str(out)),
            *("--picture", str(paths.SAMPLES / "dog.jpg")),
        ],
    )
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["rows"][0]["status"] == "planned"
    assert not out.exists()


@pytest.mark.parametrize("last", [False, True])
def test_a_dry_run_needs_no_account_no_row_and_no_project(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, last: bool
) -> None:
    from tests.unit.compare.conftest import artifact
    from visionstack.compare import session

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setattr(session, "_artifact", lambda _model: artifact())
    monkeypatch.setattr(paths, "PROJECT", None)
    if last:
        plan(instance_types=["g6.xlarge"]).save(tmp_path / "out")
    command = ["compare", "run", "--dry-run", "--json", "--cloud", "aws"]
    where = ["--out", str(tmp_path / "out"), "--picture", str(paths.SAMPLES / "dog.jpg")]
    done = RUN.invoke(app, [*command, *where])
    assert done.exit_code == 0, done.output
    planned = json.loads(done.stdout)
    names = [row["name"] for row in planned["rows"]]
    assert names == (["g6.xlarge"] if last else ["this machine", "c7i.xlarge", "g4dn.xlarge"])
    assert planned["most_usd"] > 0
    assert "without an account" in done.stderr
    assert ("last comparison's" in done.stderr) == last


def test_a_comparison_that_is_there_already_is_kept(plan: Plan, tmp_path: Path) -> None:
    from visionstack.compare.record import keep_earlier, load

    assert keep_earlier(tmp_path) is None
    plan(local=True).save(tmp_path)
    os.utime(tmp_path / "comparison.json", (1_800_000_000, 1_800_000_000))
    kept = keep_earlier(tmp_path)
    assert kept == tmp_path / "comparison-20270115T080000Z.json"
    assert load(kept).rows[0].name == "this machine"
    assert not (tmp_path / "comparison.json").exists()


@pytest.mark.parametrize("name", ["text.jpg", "absent.jpg"])
def test_what_is_no_picture_is_refused_before_machines_are_paid_for_it(
    tmp_path: Path, name: str
) -> None:
    (tmp_path / "text.jpg").write_text("no picture", encoding="utf-8")
    done = RUN.invoke(app, ["compare", "run", "--local", "--picture", str(tmp_path / name)])
    assert isinstance(done.exception, UsageError)
    assert name in str(done.exception)
    assert "--picture" in str(done.exception)


@pytest.mark.parametrize(
    ("status", "told"),
    [
        ("failed", "1 of 1 rows failed: this machine"),
        ("not-run", "Nothing could be measured"),
    ],
)
def test_rows_without_figures_fail_the_command_after_its_report(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: str, told: str
) -> None:
    from tests.unit.compare.conftest import artifact
    from visionstack.compare import session
    from visionstack.compare.record import Record, Status

    def failed(record: Record, folder: Path, *_: object) -> None:
        record.rows[0].status, record.rows[0].reason = Status(status), "it broke"
        record.save(folder)

    monkeypatch.setattr(session, "_artifact", lambda _model: artifact())
    monkeypatch.setattr(session, "_executors", lambda *_, **__: None)
    monkeypatch.setattr(session, "_measure_here", lambda *_: None)
    monkeypatch.setattr(session, "_measure", failed)
    monkeypatch.setattr(session, "_score", lambda *_: None)
    plan(local=True).save(tmp_path)
    done = RUN.invoke(app, ["compare", "run", "--local", "--out", str(tmp_path)])
    assert len(list(tmp_path.glob("comparison-2*Z.json"))) == 1
    assert isinstance(done.exception, VisionstackError)
    assert told in str(done.exception)
    assert "it broke" in done.stdout
    assert (tmp_path / "report.html").exists()


def test_into_a_pipe_a_row_is_told_once_for_each_change(
    plan: Plan, capsys: pytest.CaptureFixture[str]
) -> None:
    from visionstack.compare import session

    record = plan(local=True)
    with session._live("cost") as tell:
        for what in ("a: running", "a: running", "a: running", "a: done", "a: done"):
            tell(record, what)
    assert capsys.readouterr().err.splitlines() == ["a: running", "a: done"]


def test_who_interrupts_a_run_is_told_what_is_left_and_how_to_go_on(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from visionstack.compare import session

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(session, "run", interrupted)
    monkeypatch.setattr(session, "measure_in_turns", interrupted)
    record = plan(instance_types=["g6.xlarge"])
    for deployed, words in (
        ([], "Nothing that it started is left"),
        (["visionstack-compare-storage"], "may be left: visionstack-compare-storage"),
    ):
        record.deployed = deployed
        with pytest.raises(KeyboardInterrupt):
            session._measure(record, tmp_path, None, MeasurementSize(), "cost")  # type: ignore[arg-type]
        said = " ".join(capsys.readouterr().err.split())
        assert words in said
        assert "compare resume" in said
        with pytest.raises(KeyboardInterrupt):
            session._measure_here([(record, tmp_path, Mock())], "cost")
        assert "compare resume" in capsys.readouterr().err
