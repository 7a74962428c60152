"""One execution environment: who it is, and whether a call had to wait for its initialisation."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Mapping
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
        new_id: Callable[[], str] = lambda: uuid.uuid4().hex,
    ) -> None:
        self._initialization = environ.get("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand")
        self._clock = clock
        self._started = started
        self._new_id = new_id
        self._ready_at = started
        self._calls = 0
        self._lock = threading.Lock()
        self.id = new_id()
        self.init_ms = 0.0

    def initialised(self) -> None:
        """The INIT phase is over."""
        self._ready_at = self._clock()
        self.init_ms = (self._ready_at - self._started) * 1000

    def restored(self) -> None:
        """A snapshot of this process came to life: it is another environment now."""
        self.id = self._new_id()
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
