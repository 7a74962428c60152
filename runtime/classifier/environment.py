"""One execution environment: who it is, and whether a call had to wait for its initialisation."""

from __future__ import annotations

import ctypes
import os
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

_SNAPSHOT: Final = "snap-start"
_AHEAD: Final = ("provisioned-concurrency", _SNAPSHOT)
_AHEAD_SECONDS: Final = 1.0
"""An on-demand environment gets its first call within milliseconds of its initialisation. One that
waited longer was initialised ahead: by SnapStart's publish, or by Lambda on its own account."""


class ExecutionEnvironment:
    """State of the process that Lambda keeps between calls.

    Attributes:
        id: unique to this environment; a new one after a restore from a snapshot.
        init_ms: milliseconds from the handler's import to ready, set once.
    """

    def __init__(
        self,
        environ: Mapping[str, str],
        *,
        started: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._initialization = environ.get("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand")
        self._clock = clock
        self._started = started
        self._ready_at = started
        self._calls = 0
        self._lock = threading.Lock()
        self.id = os.urandom(16).hex()
        self.init_ms = 0.0

    def initialised(self) -> None:
        """The INIT phase is over."""
        self._ready_at = self._clock()
        self.init_ms = (self._ready_at - self._started) * 1000

    def restored(self) -> None:
        """A snapshot of this process came to life: it is another environment now."""
        self.id = os.urandom(16).hex()
        self._initialization = _SNAPSHOT

    @property
    def for_snapshot(self) -> bool:
        """Whether Lambda makes a snapshot of this environment, or made it from one."""
        return self._initialization == _SNAPSHOT

    def begin_call(self) -> bool:
        """Whether this call is cold: the first, and its caller waited for the INIT phase."""
        with self._lock:
            self._calls += 1
            if self._calls > 1 or self._initialization in _AHEAD:
                return False
            return self._clock() - self._ready_at < _AHEAD_SECONDS


# What the function holds of its memory, and keeping freed memory out of the bill for it.


_M_MMAP_THRESHOLD: Final = -3
_THRESHOLD_BYTES: Final = 128 * 1024
_SECOND_MODEL: Final = 2.5
"""Memory while a model is loaded for fast calls beside the one that serves, over the memory before:
1.3 (EfficientNet-Lite0), 1.6 (ResNet50) and 2.2 (ResNet50, fp16) were measured."""


def return_freed_blocks() -> None:
    """Have the allocator give freed large blocks back to the system at once.

    glibc raises its mmap threshold to the size of what is freed, up to 32 MB, and then keeps such
    blocks in its heaps: the parts of a downloaded model, and the copies that ONNX Runtime makes
    while it optimises the graph, would stay resident. Setting the threshold switches that off
    (mallopt(3)). Other C libraries have no mallopt and are left alone.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _THRESHOLD_BYTES)


_REQUEST_BYTES: Final = 96 * 1024 * 1024
"""For a call's body in base64 and as bytes, its answer, and inference."""
_LEAST_BYTES: Final = 32 * 1024 * 1024


def room_for_a_picture(memory_mb: int, *, statm: Path = Path("/proc/self/statm")) -> int:
    """Bytes that decoding may take of a function of `memory_mb` beside what is resident now.

    Above its memory Lambda ends the environment, and the next call waits for another.
    """
    return max(memory_mb * 1024 * 1024 - _resident(statm) - _REQUEST_BYTES, _LEAST_BYTES)


def has_room_for_a_second_model(memory_mb: int, *, statm: Path = Path("/proc/self/statm")) -> bool:
    """Whether a function of `memory_mb` can load its model again while the first one serves."""
    return _resident(statm) * _SECOND_MODEL <= memory_mb * 1024 * 1024


def _resident(statm: Path) -> int:
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
