"""Scenarios by name, the camera on a fake clock, and LoadGen itself on work that takes no time."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from runtime.contract import ScenarioKind, Scope
from runtime.measurement import loadgen, machine, runner
from runtime.measurement.camera import run_camera
from runtime.measurement.clock import Clock, Watch
from runtime.measurement.errors import (
    LoadGenError,
    LoadGenMissingError,
    ScenarioError,
    WorkloadError,
)
from runtime.measurement.results import RunResult
from runtime.measurement.runner import repeat
from runtime.measurement.scenario import Scenario
from tests.unit.measurement.conftest import FakeClock, Toil

QUICK = loadgen.Limits(seconds=0.05, queries=10, most_seconds=5)


@pytest.mark.parametrize(
    ("text", "kind", "rate"),
    [
        ("single-stream", ScenarioKind.SINGLE_STREAM, None),
        ("multi-stream", ScenarioKind.MULTI_STREAM, None),
        ("offline", ScenarioKind.OFFLINE, None),
        ("server", ScenarioKind.SERVER, None),
        ("server:12.5", ScenarioKind.SERVER, 12.5),
        ("camera:30", ScenarioKind.CAMERA, 30.0),
    ],
)
def test_a_scenario_is_read_and_written_the_same(
    text: str, kind: ScenarioKind, rate: float | None
) -> None:
    scenario = Scenario.parse(text)
    assert (scenario.kind, scenario.rate) == (kind, rate)
    assert scenario.name == text


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("burst", "'burst'"),
        ("camera", "frame rate"),
        ("camera:", "no number"),
        ("camera:fast", "'fast'"),
        ("camera:0", "above 0"),
        ("camera:-3", "above 0"),
        ("camera:nan", "above 0"),
        ("offline:3", "takes no number"),
    ],
)
def test_a_scenario_that_cannot_be_is_refused_by_name(text: str, word: str) -> None:
    with pytest.raises(ScenarioError, match=word):
        Scenario.parse(text)


def test_every_scope_says_what_it_times() -> None:
    assert len({scope.meaning for scope in Scope}) == 3


def test_a_machine_that_keeps_up_drops_nothing_and_is_never_late(clock: FakeClock) -> None:
    camera_run = run_camera(Toil(clock, [0.010]), fps=20, frames=40, clock=clock)
    assert (camera_run.dropped, camera_run.late, len(camera_run.latencies_s)) == (0, 0, 40)
    assert camera_run.latencies_s == pytest.approx([0.010] * 40)
    assert camera_run.seconds == pytest.approx(2.0)


def test_a_machine_of_two_and_a_half_periods_drops_three_of_five_and_is_late_with_the_rest(
    clock: FakeClock,
) -> None:
    """By hand, 10 fps and 0.25 s a frame: taken are 0, 2, 5, 7, 10, …: two of every five."""
    camera_run = run_camera(Toil(clock, [0.25]), fps=10, frames=51, clock=clock)
    assert len(camera_run.latencies_s) == 21
    assert camera_run.dropped == 30
    assert camera_run.late == 21
    assert camera_run.dropped + len(camera_run.latencies_s) == camera_run.frames
    assert camera_run.dropped_or_late_share == pytest.approx(1.0)
    # a frame taken half a period after it was due waits that much longer
    assert sorted({round(value, 6) for value in camera_run.latencies_s}) == [0.25, 0.30]


def test_one_slow_frame_costs_the_frames_it_covers_and_no_more(clock: FakeClock) -> None:
    camera_run = run_camera(Toil(clock, [0.01, 0.35, *[0.01] * 18]), fps=10, frames=20, clock=clock)
    assert camera_run.dropped == 2
    assert camera_run.late == 1
    value = camera_run.to_json()
    assert value["answered"] == 18
    assert value["dropped_or_late_share"] == pytest.approx(3 / 20)
    assert "latencies_s" not in value


def test_a_wall_clock_that_is_set_is_noticed_and_durations_do_not_follow_it(
    clock: FakeClock,
) -> None:
    watch = Watch.start(clock)
    clock.now += 5
    assert not watch.jumped()
    clock.offset -= 3600
    assert watch.jumped()


def test_the_system_clock_waits_until_the_moment_and_not_before() -> None:
    clock = Clock()
    moment = clock.monotonic() + 0.01
    clock.sleep_until(moment)
    assert clock.monotonic() >= moment
    assert not Watch.start(clock).jumped()


@pytest.mark.parametrize("name", ["single-stream", "multi-stream", "server:400", "offline"])
def test_loadgen_drives_every_scenario_and_leaves_its_own_logs(name: str, tmp_path: Path) -> None:
    toil = Toil()
    outcome = loadgen.run(
        toil, Scenario.parse(name), limits=QUICK, logs=tmp_path, calibrated_s=0.0005
    )
    assert outcome.pictures == toil.pictures
    assert outcome.latencies_s
    assert min(outcome.latencies_s) >= 0
    assert outcome.summary["Mode"] == "PerformanceOnly"
    assert (tmp_path / "mlperf_log_summary.txt").stat().st_size
    assert (tmp_path / "mlperf_log_detail.txt").stat().st_size
    if name == "multi-stream":
        assert outcome.pictures == 8 * len(outcome.latencies_s)
    else:
        assert outcome.pictures == len(outcome.latencies_s)


def test_loadgen_and_the_raw_samples_time_the_same_thing(tmp_path: Path) -> None:
    """The shortest of many samples is the one that no other process got in the way of."""

    class Waiting(Toil):
        def run(self, pictures: int) -> None:
            Clock().sleep_until(Clock().monotonic() + 0.004)
            super().run(pictures)

    limits = loadgen.Limits(seconds=0.2, queries=30, most_seconds=20)
    outcome = loadgen.run(
        Waiting(), Scenario.parse("single-stream"), limits=limits, logs=tmp_path, calibrated_s=0.004
    )
    theirs = int(outcome.summary["Min latency (ns)"]) / 1e9
    ours = min(outcome.latencies_s)
    assert 0.004 <= ours <= theirs
    assert theirs < 2 * ours


@pytest.mark.parametrize("name", ["single-stream", "offline"])
def test_an_engine_that_fails_ends_the_scenario_with_its_own_error(
    name: str, tmp_path: Path
) -> None:
    with pytest.raises(WorkloadError, match="gave up"):
        loadgen.run(
            Toil(fails_at=1),
            Scenario.parse(name),
            limits=QUICK,
            logs=tmp_path,
            calibrated_s=0.005,
        )


def test_a_missing_summary_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(LoadGenError, match="left no summary"):
        loadgen.read_summary(tmp_path / "mlperf_log_summary.txt")


def test_a_camera_is_not_loadgens_to_run(tmp_path: Path) -> None:
    with pytest.raises(LoadGenError, match="camera:30"):
        loadgen.run(
            Toil(), Scenario.parse("camera:30"), limits=QUICK, logs=tmp_path, calibrated_s=0.1
        )


def test_without_loadgen_the_two_simple_scenarios_still_run(clock: FakeClock) -> None:
    """By hand: 0.1 s a run for at least 1 s is 10 runs; offline runs 8 pictures at once."""
    limits = loadgen.Limits(seconds=1.0, queries=5)
    single = repeat(Toil(clock, [0.1]), Scenario.parse("single-stream"), limits=limits, clock=clock)
    assert len(single[0]) in {10, 11}
    assert single[1] == 1
    toil = Toil(clock, [0.1])
    times, batch = repeat(toil, Scenario.parse("offline"), limits=limits, clock=clock)
    assert batch == 8
    assert toil.pictures == 8 * len(times)


def test_a_slow_machine_stops_at_its_longest_time(clock: FakeClock) -> None:
    limits = loadgen.Limits(seconds=1.0, queries=1000, most_seconds=5)
    times, _ = repeat(
        Toil(clock, [1.0]), Scenario.parse("single-stream"), limits=limits, clock=clock
    )
    assert len(times) == 5


def test_arrivals_that_only_loadgen_makes_are_refused_without_it(clock: FakeClock) -> None:
    with pytest.raises(LoadGenMissingError, match="server"):
        repeat(Toil(clock), Scenario.parse("server"), limits=QUICK, clock=clock)


def test_a_machine_without_loadgen_is_measured_and_says_so(
    clock: FakeClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mlperf_loadgen", None)
    stage = runner.Plan([Scenario.parse("single-stream")], [Scope.PICTURE], QUICK)
    result = RunResult(
        run="r", instance_type=None, image=None, machine=machine.describe(), versions={}
    )
    runner.run(
        stage,
        {Scope.PICTURE: Toil(clock, [0.01])},
        result,
        sinks=[],
        logs=tmp_path,
        clock=clock,
    )
    assert result.measurements[0].status == "measured"
    assert "own loop" in str(result.measurements[0].reason)
