"""The clocks of the two ends: each runs steadily, and pings tell how far apart they are."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass


def now_us() -> int:
    """This end's clock in microseconds: monotonic, so that a corrected wall clock can't bend a
    latency. Its zero means nothing; only differences do. It is the clock of `time.monotonic()`, in
    whose seconds limits and deadlines are, as asyncio has them; microseconds go over the wire."""
    return time.monotonic_ns() // 1000


@dataclass(frozen=True, slots=True)
class ClockSample:
    """One ping: round trip and how far the server's clock is ahead, in microseconds."""

    round_trip: int
    offset: int


class ClockEstimate:
    """Offset between client and server from pings, as in NTP (RFC 5905, section 8).

    The sample with the shortest round trip of the last few wins: it had the least queueing, and the
    true offset lies within half its round trip.
    """

    def __init__(self) -> None:
        self._samples: deque[ClockSample] = deque(maxlen=8)

    def add(self, *, sent: int, received: int, answered: int, returned: int) -> ClockSample:
        """`sent` and `returned` by the client's clock, the other two by the server's."""
        sample = ClockSample(
            round_trip=max(0, (returned - sent) - (answered - received)),
            offset=((received - sent) + (answered - returned)) // 2,
        )
        self._samples.append(sample)
        return sample

    @property
    def best(self) -> ClockSample | None:
        return min(self._samples, key=lambda sample: sample.round_trip, default=None)
