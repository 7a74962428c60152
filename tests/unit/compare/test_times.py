"""Times for the cost model out of a comparison."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from runtime.measurement.machine import Machine
from runtime.measurement.results import Measurement, RunResult
from runtime.measurement.statistics import summarize
from visionstack.compare.record import Record, Row, Status
from visionstack.compare.targets import FunctionSetting, Kind
from visionstack.compare.times import ComparisonTimes, LastTimes
from visionstack.cost.errors import CostInputError
from visionstack.cost.prices import load

BOOK = load("2026-11-21")


def function(seconds: float, *, init_ms: float = 0.0, **setting: Any) -> Row:
    chosen = FunctionSetting(1769, **setting)
    call = {"seconds": seconds, "inside_s": seconds, "timings_ms": {}, "cold": False}
    first = {**call, "timings_ms": {"init": init_ms}, "cold": True}
    return Row(
        chosen.name,
        Kind.FUNCTION,
        Status.MEASURED,
        setting=asdict(chosen),
        function={"warm": [call] * 30, "first": [first], "engine": {}},
    )


def machine(name: str, latency: float) -> Row:
    raw = [latency] * 50
    result = RunResult(
        run="r1",
        instance_type=name,
        image=None,
        machine=Machine("Test CPU", 4, 8.0, "x86_64", "Linux", "Debian", (), ()),
        versions={},
        subject={},
        measurements=[
            Measurement(
                scenario="single-stream",
                scope="picture",
                status="measured",
                seconds=sum(raw),
                pictures=len(raw),
                latency_s=summarize(raw),
                raw_s=raw,
            )
        ],
        finished=True,
    )
    return Row(name, Kind.INSTANCE, Status.MEASURED, result=result.to_json())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    Record(
        run="r1",
        cloud="aws",
        region="us-east-1",
        model="toy",
        version="v",
        task="classify",
        weights_trained=True,
        weights="",
        picture="dog.jpg",
        picture_sha256="0",
        scenarios=["single-stream"],
        scopes=["picture"],
        seconds=1,
        rows=[
            machine("c7i.xlarge", 0.02),
            function(0.05, init_ms=400),
            function(0.06, arch="arm64", init_ms=500),
            function(0.07, cold_start="snapstart"),
        ],
    ).save(tmp_path)
    return tmp_path


def test_a_rate_is_that_of_the_type_that_was_asked_for(folder: Path) -> None:
    assert ComparisonTimes(folder).rate("c7i.xlarge", book=BOOK) == pytest.approx(50)
    with pytest.raises(CostInputError, match=r"g6\.xlarge") as refused:
        ComparisonTimes(folder).rate("g6.xlarge", book=BOOK)
    assert "c7i.xlarge" in str(refused.value.remedy)


@pytest.mark.parametrize(
    ("arch", "cold_start", "expected"),
    [
        ("x86_64", "none", (0.05, 0.4)),
        ("arm64", "none", (0.06, 0.5)),
        ("x86_64", "snapstart", (0.07, 0.0)),
        ("arm64", "snapstart", (0.06, 0.5)),
    ],
)
def test_a_functions_times_are_of_its_architecture_and_where_there_are_any_of_its_cold_start(
    folder: Path, arch: str, cold_start: str, expected: tuple[float, float]
) -> None:
    found = ComparisonTimes(folder).function(1769, arch=arch, cold_start=cold_start, book=BOOK)
    assert found == pytest.approx(expected)


def test_a_size_that_was_not_measured_is_refused_with_what_was(folder: Path) -> None:
    with pytest.raises(CostInputError, match="Lambda 512 MB, x86_64"):
        ComparisonTimes(folder).function(512, arch="x86_64", cold_start="none", book=BOOK)


def test_what_was_measured_last_is_taken_and_said_where_nothing_is_named(
    folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert LastTimes.found(out) is None
    demo = {
        "streaming": {"split_ms": {"inference": 10.0}},
        "classification": {"warm_ms": 80.0},
    }
    (out / "demo").mkdir(parents=True)
    (out / "demo" / "report.json").write_text(json.dumps(demo), encoding="utf-8")
    times = LastTimes.found(out)
    assert times is not None
    assert times.rate("c7i.xlarge", book=BOOK) == pytest.approx(100)
    found = times.function(1769, arch="x86_64", cold_start="none", book=BOOK)
    assert found == pytest.approx((0.08, 0))
    assert times.origin.count("this machine") == 2
    folder.joinpath("comparison.json").rename(_made(out / "compare") / "comparison.json")
    times = LastTimes.found(out)
    assert times is not None
    assert times.rate("c7i.xlarge", book=BOOK) == pytest.approx(50)
    assert "c7i.xlarge" in times.origin
    found = times.function(1769, arch="x86_64", cold_start="none", book=BOOK)
    assert found == pytest.approx((0.05, 0.4))
    found = times.function(512, arch="x86_64", cold_start="none", book=BOOK)
    assert found == pytest.approx((0.08, 0)), "the demo's, where the comparison has none"


def test_without_a_demos_figures_the_commands_that_measure_are_named(tmp_path: Path) -> None:
    (_made(tmp_path / "demo") / "report.json").write_text("{}", encoding="utf-8")
    times = LastTimes.found(tmp_path)
    assert times is not None
    with pytest.raises(CostInputError) as refused:
        times.rate("c7i.xlarge", book=BOOK)
    assert "make demo" in str(refused.value.remedy)


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder
