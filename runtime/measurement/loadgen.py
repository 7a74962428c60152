"""MLPerf's own LoadGen drives the workload; its log files stay where they were written.

Runs shorter than MLPerf's rules ask for are no submission, and results say how long they ran.
Scenarios: MLPerf Inference rules, section 3 (SingleStream p90, MultiStream 8 samples a query and
p99, Server with Poisson arrivals and p99 under a bound, Offline throughput).
"""

from __future__ import annotations

import queue
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from runtime.contract import ScenarioKind
from runtime.measurement.errors import LoadGenError, LoadGenMissingError
from runtime.measurement.scenario import MULTI_STREAM_SAMPLES, Scenario
from runtime.measurement.workload import Workload

_SUMMARY_LINE: Final = re.compile(r"^\s*(?P<key>[^:]+?)\s*:\s*(?P<value>.*?)\s*$")
_SERVER_LOAD: Final = 0.7
"""Share of the single-stream rate that the server scenario asks for when no rate is given."""


@dataclass(frozen=True)
class Limits:
    """How long a scenario runs; it ends when both the time and the queries are reached."""

    seconds: float = 10.0
    queries: int = 20
    most_seconds: float = 120.0
    server_bound_s: float = 0.1
    """MLPerf's Server scenario: the bound that p99 is held against."""
    batch: int = 8
    """Most pictures that Offline and Server run at once."""


@dataclass
class Outcome:
    """Raw latencies (seconds a query, from issue to completion) and what LoadGen said."""

    latencies_s: list[float] = field(default_factory=list)
    pictures: int = 0
    seconds: float = 0.0
    valid: bool = False
    summary: dict[str, str] = field(default_factory=dict)
    settings: dict[str, float] = field(default_factory=dict)


def run(
    workload: Workload, scenario: Scenario, *, limits: Limits, logs: Path, calibrated_s: float
) -> Outcome:
    """Run one scenario; `calibrated_s` is about what one picture takes.

    Raises:
        LoadGenMissingError: LoadGen is not installed.
        LoadGenError: it left no summary.
        WorkloadError: the engine failed.
    """
    try:
        import mlperf_loadgen as loadgen
    except ImportError as error:
        raise LoadGenMissingError(
            "MLPerf's LoadGen is not installed here (pip install mlcommons_loadgen)."
        ) from error
    logs.mkdir(parents=True, exist_ok=True)
    settings, shown = _settings(loadgen, scenario, limits=limits, calibrated_s=calibrated_s)
    driver = _Driver(loadgen, workload, scenario, limits)
    log_settings = loadgen.LogSettings()
    log_settings.log_output.outdir = str(logs)
    log_settings.log_output.copy_summary_to_stdout = False
    log_settings.enable_trace = False
    sut = loadgen.ConstructSUT(driver.issue, driver.flush)
    library = loadgen.ConstructQSL(1024, 1024, lambda _: None, lambda _: None)
    try:
        loadgen.StartTestWithLogSettings(sut, library, settings, log_settings)
    finally:
        driver.stop()
        loadgen.DestroyQSL(library)
        loadgen.DestroySUT(sut)
    if driver.failure is not None:
        raise driver.failure
    outcome = driver.outcome
    outcome.settings = shown
    outcome.summary = read_summary(logs / "mlperf_log_summary.txt")
    outcome.valid = outcome.summary.get("Result is") == "VALID"
    return outcome


def read_summary(path: Path) -> dict[str, str]:
    """LoadGen's summary file as names and values.

    Raises:
        LoadGenError: there is none.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise LoadGenError(f"LoadGen left no summary at {path}.") from error
    matches = (_SUMMARY_LINE.match(line) for line in lines)
    return {match["key"]: match["value"] for match in matches if match}


def _settings(
    loadgen: Any, scenario: Scenario, *, limits: Limits, calibrated_s: float
) -> tuple[Any, dict[str, float]]:
    settings = loadgen.TestSettings()
    settings.mode = loadgen.TestMode.PerformanceOnly
    settings.min_duration_ms = int(limits.seconds * 1000)
    settings.max_duration_ms = int(limits.most_seconds * 1000)
    settings.min_query_count = limits.queries
    expected_ns = max(1, int(calibrated_s * 1e9))
    shown = {"min_duration_s": limits.seconds, "min_queries": float(limits.queries)}
    if scenario.kind is ScenarioKind.SINGLE_STREAM:
        settings.scenario = loadgen.TestScenario.SingleStream
        settings.single_stream_expected_latency_ns = expected_ns
        settings.single_stream_target_latency_percentile = 0.9
    elif scenario.kind is ScenarioKind.MULTI_STREAM:
        settings.scenario = loadgen.TestScenario.MultiStream
        settings.multi_stream_samples_per_query = MULTI_STREAM_SAMPLES
        settings.multi_stream_expected_latency_ns = expected_ns * MULTI_STREAM_SAMPLES
        settings.multi_stream_target_latency_percentile = 0.99
    elif scenario.kind is ScenarioKind.SERVER:
        rate = scenario.rate or _SERVER_LOAD / calibrated_s
        settings.scenario = loadgen.TestScenario.Server
        settings.server_target_qps = rate
        settings.server_target_latency_ns = int(limits.server_bound_s * 1e9)
        settings.server_target_latency_percentile = 0.99
        shown |= {"target_qps": rate, "bound_s": limits.server_bound_s}
    elif scenario.kind is ScenarioKind.OFFLINE:
        settings.scenario = loadgen.TestScenario.Offline
        # LoadGen sends expected rate x minimum duration pictures in one query.
        settings.offline_expected_qps = max(1.0, 1 / calibrated_s)
        settings.min_query_count = 1
        shown["expected_qps"] = settings.offline_expected_qps
    else:
        raise LoadGenError(f"LoadGen has no scenario {scenario.name}.")
    return settings, shown


class _Driver:
    """LoadGen's system under test.

    SingleStream and MultiStream are answered where they are issued, as LoadGen waits for them
    anyhow. Server and Offline go through a queue to one worker, which takes what waits, up to the
    batch size; LoadGen's thread never waits for the engine.
    """

    def __init__(
        self, loadgen: Any, workload: Workload, scenario: Scenario, limits: Limits
    ) -> None:
        self.outcome = Outcome()
        self.failure: Exception | None = None
        self._loadgen = loadgen
        self._workload = workload
        self._batch = limits.batch
        self._first: float | None = None
        self._queue: queue.SimpleQueue[tuple[int, float] | None] = queue.SimpleQueue()
        self._direct = scenario.kind in {ScenarioKind.SINGLE_STREAM, ScenarioKind.MULTI_STREAM}
        self._worker: threading.Thread | None = None
        if not self._direct:
            self._worker = threading.Thread(target=self._work, name="loadgen-worker", daemon=True)
            self._worker.start()

    def issue(self, samples: list[Any]) -> None:
        now = time.perf_counter()
        self._first = now if self._first is None else self._first
        if self._direct:
            self._answer([sample.id for sample in samples], [now])
            return
        for sample in samples:
            self._queue.put((sample.id, now))

    def flush(self) -> None:
        """Nothing is held back, so there is nothing to flush."""

    def stop(self) -> None:
        if self._worker is not None:
            self._queue.put(None)
            self._worker.join()

    def _work(self) -> None:
        for batch in iter(self._take, None):
            self._answer([sample for sample, _ in batch], [issued for _, issued in batch])

    def _take(self) -> list[tuple[int, float]] | None:
        first = self._queue.get()
        if first is None:
            return None
        batch = [first]
        while len(batch) < self._batch:
            try:
                sample = self._queue.get_nowait()
            except queue.Empty:
                break
            if sample is None:
                self._queue.put(None)
                break
            batch.append(sample)
        return batch

    def _answer(self, samples: list[int], issued: list[float]) -> None:
        """Complete the samples even if the engine failed: LoadGen waits for each of them."""
        if self.failure is None:
            try:
                self._workload.run(len(samples))
            except Exception as error:  # raised again when LoadGen has come to its end
                self.failure = error
        done = time.perf_counter()
        self.outcome.latencies_s += [done - moment for moment in issued]
        self.outcome.pictures += len(samples)
        self.outcome.seconds = done - (self._first or done)
        response: Callable[..., Any] = self._loadgen.QuerySampleResponse
        self._loadgen.QuerySamplesComplete([response(sample, 0, 0) for sample in samples])
