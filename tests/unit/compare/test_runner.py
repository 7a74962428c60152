"""Runs on fakes: order, rows that fail, interruption, resuming, and destruction in every case."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unit.compare.conftest import Fakes, Plan, result
from visionstack.compare.errors import MixedResultsError, NotRunError, RecordError
from visionstack.compare.fleets import Progress
from visionstack.compare.record import FILE, Record, Status, load, merge
from visionstack.compare.runner import run
from visionstack.compare.targets import FunctionSetting
from visionstack.errors import VisionstackError


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def measured(fakes: Fakes, folder: Path, *, minutes: int = 5) -> Record:
    clock = Clock()
    return run(
        fakes.record, folder, fakes.executors(), minutes=minutes, clock=clock, sleep=clock.sleep
    )


def test_a_run_goes_from_plan_to_nothing_left(plan: Plan, tmp_path: Path) -> None:
    record = plan(
        local=True,
        darknet=True,
        instance_types=["g6.xlarge", "c7i.xlarge"],
        functions=[FunctionSetting(1024), FunctionSetting(2048, cold_start="warmer")],
    )
    fakes = Fakes(record)
    fakes.progresses = {
        "g6.xlarge": [
            Progress(),
            Progress(result=result(record, finished=False)),
            Progress(result=result(record, latency=0.004)),
        ],
        "c7i.xlarge": [Progress(), Progress(refusal="not run: InsufficientInstanceCapacity")],
    }
    measured(fakes, tmp_path)
    assert [row.status for row in record.rows] == [
        Status.MEASURED,
        Status.MEASURED,
        Status.MEASURED,
        Status.NOT_RUN,
        Status.MEASURED,
        Status.MEASURED,
    ]
    assert record.row("c7i.xlarge").reason == "not run: InsufficientInstanceCapacity"
    assert fakes.log == [
        "here",
        "darknet",
        "deploy g6.xlarge,c7i.xlarge",
        "logs g6.xlarge",
        "function 1024",
        "function 2048",
        "destroy visionstack-compare-storage visionstack-compare-comparison "
        "visionstack-compare-classifier visionstack-compare-warmer",
    ]
    assert record.deployed == []
    assert json.dumps(load(tmp_path).to_json()) == json.dumps(record.to_json())


def test_ctrl_c_destroys_everything_and_is_passed_on(plan: Plan, tmp_path: Path) -> None:
    record = plan(local=True, instance_types=["g6.xlarge"])
    fakes = Fakes(record, progresses={"g6.xlarge": [Progress()]})

    def interrupted(_seconds: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(record, tmp_path, fakes.executors(), minutes=5, sleep=interrupted)
    assert fakes.log[-1].startswith("destroy")
    saved = load(tmp_path)
    assert saved.deployed == []
    assert (saved.row("g6.xlarge").status, saved.row("g6.xlarge").reason) == (
        Status.FAILED,
        "interrupted",
    )
    assert saved.row("this machine").status is Status.MEASURED


def test_a_failed_deploy_is_destroyed_too_and_its_rows_say_why(plan: Plan, tmp_path: Path) -> None:
    record = plan(instance_types=["g6.xlarge"], functions=[FunctionSetting(512)])
    fakes = Fakes(record, deploy_error=VisionstackError("cdk deploy failed: no bootstrap."))
    measured(fakes, tmp_path)
    assert record.row("g6.xlarge").reason == "cdk deploy failed: no bootstrap."
    assert record.rows[1].status is Status.MEASURED
    assert "visionstack-compare-comparison" in fakes.log[-1]


def test_stacks_are_written_down_before_they_are_deployed(plan: Plan, tmp_path: Path) -> None:
    record = plan(functions=[FunctionSetting(512)])
    fakes = Fakes(record)
    seen: list[list[str]] = []

    def measure(*_: object) -> dict[str, object]:
        seen.append(json.loads((tmp_path / FILE).read_text())["deployed"])
        raise VisionstackError("broken")

    fakes.measure = measure  # type: ignore[method-assign]
    measured(fakes, tmp_path)
    assert seen == [["visionstack-compare-storage", "visionstack-compare-classifier"]]
    assert record.rows[0].reason == "broken"


def test_nothing_is_destroyed_where_nothing_was_deployed(plan: Plan, tmp_path: Path) -> None:
    fakes = Fakes(plan(local=True))
    measured(fakes, tmp_path)
    assert fakes.log == ["here"]


def test_an_instance_that_never_answers_is_given_up_after_its_time(
    plan: Plan, tmp_path: Path
) -> None:
    record = plan(instance_types=["g6.xlarge", "c7i.xlarge"])
    fakes = Fakes(record)
    half = Progress(result=result(record, finished=False))
    fakes.progresses = {"g6.xlarge": [Progress()], "c7i.xlarge": [half]}
    measured(fakes, tmp_path, minutes=5)
    assert record.row("g6.xlarge").status is Status.FAILED
    assert "15 minutes" in str(record.row("g6.xlarge").reason)
    assert record.row("c7i.xlarge").status is Status.MEASURED
    assert fakes.log[-1].startswith("destroy")


def test_a_resumed_run_measures_only_what_is_open(plan: Plan, tmp_path: Path) -> None:
    record = plan(local=True, functions=[FunctionSetting(512), FunctionSetting(1024)])
    first = Fakes(record, function_error=VisionstackError("throttled"))
    measured(first, tmp_path)
    saved = load(tmp_path)
    for row in saved.rows:
        row.status = Status.PLANNED if row.status is Status.FAILED else row.status
    second = Fakes(saved)
    measured(second, tmp_path)
    assert second.log[:2] == ["function 512", "function 1024"]
    assert all(row.status is Status.MEASURED for row in load(tmp_path).rows)


def test_what_an_interrupted_run_left_is_destroyed_before_anything_is_started(
    plan: Plan, tmp_path: Path
) -> None:
    record = plan(local=True)
    record.deployed = ["visionstack-compare-storage"]
    fakes = Fakes(record)
    measured(fakes, tmp_path)
    assert fakes.log == ["destroy visionstack-compare-storage", "here"]


def test_results_of_another_version_or_picture_are_refused(plan: Plan) -> None:
    record = plan(local=True)
    with pytest.raises(MixedResultsError, match="version ffff"):
        record.take(record.rows[0], result(record, version="ffff"))
    with pytest.raises(MixedResultsError, match="another picture"):
        record.take(record.rows[0], result(record, picture="beef"))


def test_an_instance_with_another_version_is_a_failed_row_without_figures(
    plan: Plan, tmp_path: Path
) -> None:
    record = plan(instance_types=["g6.xlarge"])
    fakes = Fakes(
        record, progresses={"g6.xlarge": [Progress(result=result(record, version="ffff"))]}
    )
    measured(fakes, tmp_path)
    row = record.row("g6.xlarge")
    assert row.status is Status.FAILED
    assert row.result is None


def test_a_machine_whose_model_did_not_load_is_a_failed_row(plan: Plan) -> None:
    record = plan(local=True)
    broken = result(record)
    broken.measurements, broken.failure = [], "too big for this machine"
    record.take(record.rows[0], broken)
    assert record.rows[0].status is Status.FAILED
    assert record.rows[0].reason == "too big for this machine"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (NotRunError("darknet is not installed"), Status.NOT_RUN),
        (VisionstackError("not run: it broke on the way"), Status.FAILED),
    ],
)
def test_the_kind_of_an_error_and_not_its_text_says_that_a_row_was_not_run(
    plan: Plan, tmp_path: Path, error: VisionstackError, status: Status
) -> None:
    record = plan(local=True)
    measured(Fakes(record, machine_error=error), tmp_path)
    assert (record.rows[0].status, record.rows[0].reason) == (status, error.message)


def test_comparisons_of_one_model_are_merged_and_of_two_are_refused(plan: Plan) -> None:
    first, second = plan(local=True), plan(functions=[FunctionSetting(512)])
    assert len(merge([first, second]).rows) == 2
    second.version = "ffff"
    with pytest.raises(MixedResultsError, match="ffff"):
        merge([first, second])
    second.version, second.model = first.version, "other"
    with pytest.raises(MixedResultsError, match="compares other"):
        merge([first, second])
    second.model, second.picture_sha256 = first.model, "beef"
    with pytest.raises(MixedResultsError, match="another picture"):
        merge([first, second])


@pytest.mark.parametrize("text", ["{", "{}", '{"schema": 9}', '{"schema": 1, "rows": [{}]}'])
def test_a_damaged_record_is_refused_by_its_path(text: str, tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(text)
    with pytest.raises(RecordError, match="comparison"):
        load(tmp_path)


def test_a_missing_record_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(RecordError) as caught:
        load(tmp_path)
    assert "compare run" in str(caught.value.remedy)
