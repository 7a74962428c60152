"""GPU use: reported where there is a GPU, absent where there is none, never an old value."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pynvml
import pytest
from prometheus_client.parser import text_string_to_metric_families

from runtime.contract import StreamMetric
from runtime.streaming.host.gpus import GpusUnreadableError, NvidiaGpus, Nvml, find_gpus, watch_gpus
from runtime.streaming.host.metrics import Metrics
from tests.unit.streaming.conftest import ServerFactory


class FakeNvmlError(Exception):
    pass


@dataclass
class FakeNvml:
    """A driver with so many GPUs as `rates` (percent); `broken` makes every call fail."""

    rates: list[int]
    broken: bool = False
    NVMLError: type[Exception] = FakeNvmlError

    def nvmlInit(self) -> None:
        self._check()

    def nvmlDeviceGetCount(self) -> int:
        return len(self.rates)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlDeviceGetUtilizationRates(self, handle: int) -> SimpleNamespace:
        self._check()
        return SimpleNamespace(gpu=self.rates[handle], memory=99)

    def _check(self) -> None:
        if self.broken:
            raise FakeNvmlError("Driver Not Loaded")


@dataclass
class FakeGpus:
    """Says one list after another, then that it can't be read."""

    lists: list[list[float]]

    def busy_shares(self) -> Sequence[float]:
        if not self.lists:
            raise GpusUnreadableError("the GPU has fallen off the bus")
        return self.lists.pop(0)


def samples(metrics: Metrics) -> dict[str, float]:
    """Busy shares by GPU as Prometheus would read them."""
    families = text_string_to_metric_families(metrics.exposition().decode())
    return {
        sample.labels["gpu"]: sample.value
        for family in families
        for sample in family.samples
        if sample.name == "visionstack_stream_gpu_busy_share"
    }


def test_percent_of_each_gpu_become_shares() -> None:
    assert NvidiaGpus(FakeNvml([25, 100, 0])).busy_shares() == [0.25, 1.0, 0.0]


@pytest.mark.parametrize("nvml", [FakeNvml([]), FakeNvml([50], broken=True)])
def test_no_gpu_and_no_driver_are_said_to_be_unreadable(nvml: FakeNvml) -> None:
    with pytest.raises(GpusUnreadableError):
        NvidiaGpus(nvml)


def test_a_driver_that_fails_later_is_told_from_one_that_is_idle() -> None:
    nvml = FakeNvml([50])
    gpus = NvidiaGpus(nvml)
    nvml.broken = True
    with pytest.raises(GpusUnreadableError, match="Driver Not Loaded"):
        gpus.busy_shares()


def test_the_fake_has_the_names_of_nvidias_own_library() -> None:
    names = [name for name in vars(Nvml) if name.startswith("nvml")]
    assert len(names) == 4
    assert all(callable(getattr(pynvml, name)) for name in [*names, "NVMLError"])


def test_gpus_are_found_exactly_where_the_driver_has_a_device() -> None:
    assert (find_gpus() is not None) == Path("/dev/nvidia0").exists()


def test_without_a_gpu_the_metric_is_absent_and_not_zero() -> None:
    metrics = Metrics()
    assert samples(metrics) == {}
    assert StreamMetric.GPU_BUSY_SHARE not in metrics.window.take(frames_waiting=0)


def test_cloudwatch_gets_the_mean_since_the_last_time_and_prometheus_each_gpu_now() -> None:
    metrics = Metrics()
    metrics.gpus_busy([0.2, 0.4])
    metrics.gpus_busy([1.0, 0.8])
    assert samples(metrics) == {"0": 1.0, "1": 0.8}
    taken = metrics.window.take(frames_waiting=0)
    assert taken[StreamMetric.GPU_BUSY_SHARE] == pytest.approx(0.6)
    assert StreamMetric.GPU_BUSY_SHARE not in metrics.window.take(frames_waiting=0)


async def test_a_gpu_that_cannot_be_read_any_more_leaves_no_old_value_behind() -> None:
    metrics = Metrics()
    await watch_gpus(FakeGpus([[0.5], [0.7]]), metrics, every=0)
    assert samples(metrics) == {}
    assert metrics.window.take(frames_waiting=0)[StreamMetric.GPU_BUSY_SHARE] == pytest.approx(0.6)


async def test_a_server_with_a_gpu_reports_it_by_itself(running: ServerFactory) -> None:
    class Busy:
        def busy_shares(self) -> Sequence[float]:
            return [0.75]

    async with running(gpus=Busy) as one:
        async with asyncio.timeout(60):
            while not samples(one.server.metrics):
                await asyncio.sleep(0.01)
        assert samples(one.server.metrics) == {"0": 0.75}
        assert one.server.figures()[StreamMetric.GPU_BUSY_SHARE] == pytest.approx(0.75)
