"""The two simple scenarios without LoadGen, for machines it has no wheel for (arm64)."""

from __future__ import annotations

from runtime.contract import ScenarioKind
from runtime.measurement.clock import Clock
from runtime.measurement.errors import LoadGenMissingError
from runtime.measurement.loadgen import Limits
from runtime.measurement.scenario import Scenario
from runtime.measurement.workload import Workload


def repeat(
    workload: Workload, scenario: Scenario, *, limits: Limits, clock: Clock
) -> tuple[list[float], int]:
    """Seconds of each run until the limits are reached, and the pictures in a run.

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
