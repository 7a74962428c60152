"""Runs scenarios one after another; one that fails is a result too, and the next one still runs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from runtime.contract import ScenarioKind, Scope
from runtime.measurement import loadgen
from runtime.measurement.camera import run_camera
from runtime.measurement.clock import Clock, Watch
from runtime.measurement.errors import LoadGenMissingError, MeasurementError
from runtime.measurement.results import Measurement, RunResult, Sink
from runtime.measurement.scenario import Scenario
from runtime.measurement.statistics import percentile, summarize
from runtime.measurement.workload import Workload

_WARM_UP_RUNS: Final = 3
_CALIBRATION_RUNS: Final = 5
_FRAMES_AT_LEAST: Final = 20

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """What to run: every scenario at every scope, in this order."""

    scenarios: Sequence[Scenario]
    scopes: Sequence[Scope]
    limits: loadgen.Limits = field(default_factory=loadgen.Limits)

    def steps(self) -> list[tuple[Scenario, Scope]]:
        """Each pair once."""
        return [(scenario, scope) for scope in self.scopes for scenario in self.scenarios]


def run(
    plan: Plan,
    workloads: Mapping[Scope, Workload],
    result: RunResult,
    *,
    sinks: Sequence[Sink],
    logs: Path,
    clock: Clock | None = None,
    tell: Callable[[Measurement], None] = lambda _: None,
) -> RunResult:
    """Measure what `result` lacks, writing it to every sink after each scenario.

    Scenarios that `result` holds as measured already are left alone, so that a run can be resumed.

    Raises:
        MeasurementError: a sink could not be written.
    """
    stage = _Stage(limits=plan.limits, logs=logs, clock=clock or Clock())
    done = {(m.scenario, m.scope) for m in result.measurements if m.status == "measured"}
    for scenario, scope in plan.steps():
        if (scenario.name, scope.value) in done:
            continue
        measurement = stage.measure(scenario, scope, workloads[scope])
        result.measurements = [
            m
            for m in result.measurements
            if (m.scenario, m.scope) != (measurement.scenario, measurement.scope)
        ] + [measurement]
        for sink in sinks:
            sink.write(result)
        tell(measurement)
    result.finished = True
    for sink in sinks:
        sink.write(result)
    return result


@dataclass
class _Stage:
    """What the scenarios of one run share."""

    limits: loadgen.Limits
    logs: Path
    clock: Clock
    calibrated: dict[Scope, float] = field(default_factory=dict)

    def measure(self, scenario: Scenario, scope: Scope, workload: Workload) -> Measurement:
        """One scenario; a failure is a measurement that says so."""
        started = datetime.fromtimestamp(self.clock.wall(), UTC).isoformat(timespec="seconds")
        blank = Measurement(
            scenario=scenario.name, scope=scope.value, status="failed", started=started
        )
        try:
            if scope not in self.calibrated:
                self.calibrated[scope] = calibrate(workload, self.clock)
            if scenario.kind is ScenarioKind.CAMERA:
                return self._camera(blank, scenario, workload)
            return self._loadgen(blank, scenario, workload, self.calibrated[scope])
        except (MeasurementError, MemoryError) as error:
            reason = str(error) or "out of memory"
            log.warning("%s at scope %s failed: %s", scenario.name, scope.value, reason)
            return replace(blank, reason=reason)

    def _loadgen(
        self, blank: Measurement, scenario: Scenario, workload: Workload, calibrated_s: float
    ) -> Measurement:
        folder = self.logs / f"{blank.scope}-{scenario.name.replace(':', '-')}"
        watch = Watch.start(self.clock)
        try:
            outcome = loadgen.run(
                workload, scenario, limits=self.limits, logs=folder, calibrated_s=calibrated_s
            )
        except LoadGenMissingError:
            times, batch = repeat(workload, scenario, limits=self.limits, clock=self.clock)
            return _measured(
                blank,
                times,
                watch,
                reason="own loop: LoadGen has no wheel for this machine",
                seconds=sum(times),
                pictures=len(times) * batch,
            )
        return _measured(
            blank,
            outcome.latencies_s,
            watch,
            seconds=outcome.seconds,
            pictures=outcome.pictures,
            loadgen={
                "logs": folder.relative_to(self.logs.parent).as_posix(),
                "valid": outcome.valid,
                "settings": outcome.settings,
                "summary": outcome.summary,
            },
        )

    def _camera(self, blank: Measurement, scenario: Scenario, workload: Workload) -> Measurement:
        fps = scenario.rate or 30.0
        frames = max(_FRAMES_AT_LEAST, round(fps * self.limits.seconds))
        watch = Watch.start(self.clock)
        camera_run = run_camera(workload, fps=fps, frames=frames, clock=self.clock)
        return _measured(
            blank,
            camera_run.latencies_s,
            watch,
            seconds=camera_run.seconds,
            pictures=len(camera_run.latencies_s),
            camera=camera_run.to_json(),
        )


def _measured(
    blank: Measurement, raw_s: Sequence[float], watch: Watch, **known: Any
) -> Measurement:
    summary = summarize(raw_s, clock_jumped=watch.jumped())
    return replace(blank, status="measured", latency_s=summary, raw_s=raw_s, **known)


def repeat(
    workload: Workload, scenario: Scenario, *, limits: loadgen.Limits, clock: Clock
) -> tuple[list[float], int]:
    """The two simple scenarios without LoadGen, for machines it has no wheel for (arm64).

    Returns seconds of each run until the limits are reached, and the pictures in a run.
    SingleStream runs one picture at a time, Offline the largest batch; the others need LoadGen's
    arrivals.

    Raises:
        LoadGenMissingError: it is another scenario.
        WorkloadError: the engine failed.
    """
    if scenario.kind not in {ScenarioKind.SINGLE_STREAM, ScenarioKind.OFFLINE}:
        raise LoadGenMissingError(
            f"{scenario.name} needs MLPerf's LoadGen, which has no wheel for this machine."
        )
    batch = limits.batch if scenario.kind is ScenarioKind.OFFLINE else 1
    times: list[float] = []
    begun = clock.monotonic()
    while True:
        start = clock.monotonic()
        workload.run(batch)
        done = clock.monotonic()
        times.append(done - start)
        enough = done - begun >= limits.seconds and len(times) >= limits.queries
        if enough or done - begun >= limits.most_seconds:
            return times, batch


def calibrate(workload: Workload, clock: Clock) -> float:
    """Warm up, then the median seconds of a few runs: LoadGen wants to know what to expect.

    Raises:
        WorkloadError: the engine failed.
    """
    for _ in range(_WARM_UP_RUNS):
        workload.run(1)
    times = []
    for _ in range(_CALIBRATION_RUNS):
        start = clock.monotonic()
        workload.run(1)
        times.append(clock.monotonic() - start)
    return max(percentile(times, 50), 1e-6)
