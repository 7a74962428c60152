"""What the server counts, for Prometheus (`/metrics`) and for CloudWatch."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from runtime.contract import StreamMetric

_LATENCY_BUCKETS = (0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1, 2, 5)


class Metrics:
    """One server's counters. Everything but `batch_inferred` is called on the event loop."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        name = "visionstack_stream"
        self.frames = Counter(
            f"{name}_frames", "Frames received.", ["model"], registry=self.registry
        )
        self.answers = Counter(
            f"{name}_answers",
            "Frames answered: found, unchanged, predicted, dropped or failed.",
            ["model", "outcome"],
            registry=self.registry,
        )
        self.received_bytes = Counter(
            f"{name}_received_bytes", "Bytes of frames received.", registry=self.registry
        )
        self.closes = Counter(
            f"{name}_closes", "Connections closed, by code.", ["code"], registry=self.registry
        )
        self.reloads = Counter(
            f"{name}_model_reloads",
            "New model versions, loaded or refused.",
            ["model", "outcome"],
            registry=self.registry,
        )
        self.latency = Histogram(
            f"{name}_server_seconds",
            "From a frame's last byte received to its answer sent.",
            ["model"],
            buckets=_LATENCY_BUCKETS,
            registry=self.registry,
        )
        self.batch_size = Histogram(
            f"{name}_batch_frames",
            "Frames in an inferred batch.",
            ["model"],
            buckets=(1, 2, 4, 8, 16, 32),
            registry=self.registry,
        )
        self.engine_failures = Counter(
            f"{name}_engine_failures",
            "Frames that the engine failed on.",
            ["model"],
            registry=self.registry,
        )
        self.failures = 0
        """The same of all models."""
        self.engine_busy = Counter(
            f"{name}_engine_busy_seconds",
            "Time engines spent inferring.",
            ["model"],
            registry=self.registry,
        )
        self.waiting = Gauge(
            f"{name}_frames_waiting", "Frames that nobody works on.", registry=self.registry
        )
        self.connections = Gauge(f"{name}_connections", "Connections now.", registry=self.registry)
        self.sessions = Gauge(
            f"{name}_sessions",
            "Streams now, those waiting to resume included.",
            registry=self.registry,
        )
        self.gpu_busy = Gauge(
            f"{name}_gpu_busy_share",
            "Share of the last second in which the GPU computed; absent without a GPU.",
            ["gpu"],
            registry=self.registry,
        )
        self.window = Window()

    def batch_inferred(self, *, model: str, frames: int, microseconds: int) -> None:
        self.batch_size.labels(model).observe(frames)
        self.engine_busy.labels(model).inc(microseconds / 1e6)
        self.window.batch(frames, microseconds)

    def answered(self, *, model: str, outcome: str, microseconds: int) -> None:
        self.answers.labels(model, outcome).inc()
        if outcome == "dropped":
            self.window.dropped += 1
            return
        self.latency.labels(model).observe(microseconds / 1e6)
        self.window.latencies.append(microseconds)

    def engine_failed(self, *, model: str) -> None:
        self.engine_failures.labels(model).inc()
        self.failures += 1

    def gpus_busy(self, shares: Sequence[float]) -> None:
        """How busy each GPU is now, 0 to 1."""
        for number, share in enumerate(shares):
            self.gpu_busy.labels(str(number)).set(share)
        self.window.gpus(sum(shares) / len(shares))

    def gpus_unknown(self) -> None:
        """From now on nobody can tell: an old value must not stand for the present."""
        self.gpu_busy.clear()

    def exposition(self) -> bytes:
        """The Prometheus text format."""
        return generate_latest(self.registry)


class Window:
    """Counts since the last `take`, for metrics that are published once a minute."""

    _KEPT = 20_000

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._since = time.monotonic()
        self.dropped = 0
        self.latencies: deque[int] = deque(maxlen=self._KEPT)
        self._gpu_samples = 0
        self._gpu_sum = 0.0
        self._batches = 0
        self._frames = 0
        self._busy = 0

    def batch(self, frames: int, microseconds: int) -> None:
        with self._lock:
            self._batches += 1
            self._frames += frames
            self._busy += microseconds

    def gpus(self, share: float) -> None:
        with self._lock:
            self._gpu_samples += 1
            self._gpu_sum += share

    def take(self, *, frames_waiting: int) -> dict[str, float]:
        """Figures by CloudWatch metric name, and begin anew."""
        now = time.monotonic()
        with self._lock:
            seconds = max(now - self._since, 1e-3)
            latencies = sorted(self.latencies)
            figures = {
                StreamMetric.FRAMES_PER_SECOND: len(latencies) / seconds,
                StreamMetric.FRAMES_DROPPED: float(self.dropped),
                StreamMetric.ENGINE_BUSY_SHARE: min(1.0, self._busy / 1e6 / seconds),
                StreamMetric.FRAMES_WAITING: float(frames_waiting),
            }
            if latencies:
                index = min(len(latencies) - 1, int(0.99 * len(latencies)))
                figures[StreamMetric.LATENCY_P99_MILLISECONDS] = latencies[index] / 1000
            if self._batches:
                figures[StreamMetric.BATCH_SIZE] = self._frames / self._batches
            if self._gpu_samples:
                figures[StreamMetric.GPU_BUSY_SHARE] = self._gpu_sum / self._gpu_samples
            self._since, self.dropped = now, 0
            self._gpu_samples, self._gpu_sum = 0, 0.0
            self._batches = self._frames = self._busy = 0
            self.latencies.clear()
        return figures
