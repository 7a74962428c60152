"""Time for measurements: a monotonic clock to measure with, a wall clock to check it against."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final

_TOLERANCE_S: Final = 0.5
"""Slewing by NTP stays far below this within one scenario; a step does not."""


class Clock:
    """The machine's clocks, in seconds; a test's clock moves only when it is told to."""

    def monotonic(self) -> float:
        """Never runs backwards; every duration is taken from it."""
        return time.perf_counter()

    def wall(self) -> float:
        """Seconds since the epoch, which someone may set at any time."""
        return time.time()

    def sleep_until(self, moment: float) -> None:
        """Return at or after `moment` of the monotonic clock."""
        # The last 2 ms are waited for awake: sleeping overshoots by up to a scheduler tick.
        while (left := moment - time.perf_counter()) > 0:
            if left > 0.002:
                time.sleep(left - 0.002)


@dataclass(frozen=True)
class Watch:
    """Started with a measurement, to tell afterwards whether someone set the wall clock."""

    clock: Clock
    monotonic: float
    wall: float

    @classmethod
    def start(cls, clock: Clock) -> Watch:
        """Read both clocks."""
        return cls(clock, clock.monotonic(), clock.wall())

    def jumped(self) -> bool:
        """Whether the two clocks have drifted apart by more than half a second."""
        passed = self.clock.monotonic() - self.monotonic
        return abs((self.clock.wall() - self.wall) - passed) > _TOLERANCE_S
