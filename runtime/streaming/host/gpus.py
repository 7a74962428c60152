"""How busy the machine's GPUs are, as NVIDIA's management library (NVML) says."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any, Protocol

from runtime.protocol.errors import StreamingError
from runtime.streaming.host.metrics import Metrics

log = logging.getLogger(__name__)

EVERY_SECONDS = 1.0
"""NVML looks back over its last sample period, which is a second at most."""


class GpusUnreadableError(StreamingError):
    """The driver does not say how busy the GPUs are (any more)."""


class Gpus(Protocol):
    """The GPUs of this machine, at least one."""

    def busy_shares(self) -> Sequence[float]:
        """Of each GPU the share of the last moment in which it computed, 0 to 1.

        May block for a moment and is called off the event loop. Raises GpusUnreadableError.
        """
        ...


class Nvml(Protocol):
    """The part of the module `pynvml` that is used."""

    NVMLError: type[Exception]

    def nvmlInit(self) -> None: ...  # noqa: N802 - NVIDIA's names
    def nvmlDeviceGetCount(self) -> int: ...  # noqa: N802
    def nvmlDeviceGetHandleByIndex(self, index: int) -> Any: ...  # noqa: N802
    def nvmlDeviceGetUtilizationRates(self, handle: Any) -> Any: ...  # noqa: N802


class NvidiaGpus:
    """Raises GpusUnreadableError when made where there is no GPU or no driver."""

    def __init__(self, nvml: Nvml) -> None:
        self._nvml = nvml
        try:
            nvml.nvmlInit()
            count = nvml.nvmlDeviceGetCount()
            self._handles = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(count)]
        except nvml.NVMLError as error:
            raise GpusUnreadableError(f"NVML: {error}") from error
        if not self._handles:
            raise GpusUnreadableError("NVML knows of no GPU.")

    def busy_shares(self) -> Sequence[float]:
        try:
            rates = [self._nvml.nvmlDeviceGetUtilizationRates(one) for one in self._handles]
        except self._nvml.NVMLError as error:
            raise GpusUnreadableError(f"NVML: {error}") from error
        return [rate.gpu / 100 for rate in rates]


def find_gpus() -> Gpus | None:
    """The machine's GPUs; None where there is none, or nothing that tells of them."""
    try:
        import pynvml
    except ImportError:
        return None
    try:
        return NvidiaGpus(pynvml)
    except GpusUnreadableError as error:
        log.info("no GPU use is reported", extra={"reason": str(error)})
        return None


async def watch_gpus(gpus: Gpus, metrics: Metrics, *, every: float = EVERY_SECONDS) -> None:
    """Note how busy the GPUs are, for ever; returns when that cannot be read any more."""
    while True:
        try:
            shares = await asyncio.to_thread(gpus.busy_shares)
        except GpusUnreadableError as error:
            log.warning("GPU use is reported no longer", extra={"reason": str(error)})
            metrics.gpus_unknown()
            return
        metrics.gpus_busy(shares)
        await asyncio.sleep(every)
