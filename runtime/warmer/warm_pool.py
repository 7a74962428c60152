"""Keeping N environments warm: overlapping wake-ups, counted by the ids they answer with.

One scheduled call warms one environment. N calls that overlap need N environments, and a wake-up
overlaps with the others by staying busy for `sleep_ms`. When fewer than N distinct ids come back,
the calls did not overlap: the sleep is doubled (up to a bound) and the round is run again.

While N environments are held, a real call would find none free and start a cold one. So the pool
is `spare` larger than N: the held ones leave the spare ones free for real calls, and those are kept
alive by a wake-up that sleeps not at all, sent in the middle of the hold, when it can only land on
a spare one. With as many spares as real calls that may come at once, only a call in those few
milliseconds can still meet a cold start; reserved concurrency turns that one into a 429 that the
client repeats.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

from runtime.contract import MAX_WAKEUP_SLEEP_MS
from runtime.warmer.errors import ThrottledError, WakeError


@dataclass(frozen=True)
class WakeAnswer:
    """Which environment answered, and whether it was started for this call."""

    environment: str
    cold: bool


class Waker(Protocol):
    """Calls the function that is kept warm."""

    def wake(self, sleep_ms: int) -> WakeAnswer:
        """One wake-up. Raises `WakeError`, `ThrottledError`."""
        ...


@dataclass(frozen=True, kw_only=True)
class WarmReport:
    """One cycle's outcome.

    Attributes:
        target: environments wanted.
        reached: distinct environments held at once in the best round.
        environments: their ids.
        spares: ids of the spare ones that were touched.
        cold: wake-ups that had to start an environment.
        rounds: rounds run.
        sleep_ms: sleep of the last round.
        failures: messages of wake-ups that failed.
    """

    target: int
    reached: int
    environments: tuple[str, ...]
    spares: tuple[str, ...]
    cold: int
    rounds: int
    sleep_ms: int
    failures: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """As the warmer function returns it."""
        return {
            "target": self.target,
            "reached": self.reached,
            "environments": list(self.environments),
            "spares": list(self.spares),
            "cold": self.cold,
            "rounds": self.rounds,
            "sleep_ms": self.sleep_ms,
            "failures": list(self.failures),
        }


class WarmPool:
    """Runs wake-up cycles."""

    def __init__(
        self,
        waker: Waker,
        *,
        sleep_ms: int,
        max_rounds: int,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._waker = waker
        self._sleep_ms = sleep_ms
        self._max_rounds = max_rounds
        self._sleep = sleep

    def cycle(self, target: int, *, spare: int) -> WarmReport:
        """Wake until `target` distinct environments were held at once, or no round is left."""
        held: set[str] = set()
        spares: set[str] = set()
        failures: list[str] = []
        cold = rounds = 0
        sleep_ms = self._sleep_ms
        while rounds < self._max_rounds:
            if rounds:
                sleep_ms = min(sleep_ms * 2, MAX_WAKEUP_SLEEP_MS)
            rounds += 1
            answers, touched, failures = self._round(target, spare, sleep_ms)
            cold += sum(answer.cold for answer in (*answers, *touched))
            ids = {answer.environment for answer in answers}
            spares |= {answer.environment for answer in touched}
            held = max(held, ids, key=len)
            if len(held) >= target:
                break
        return WarmReport(
            target=target,
            reached=len(held),
            environments=tuple(sorted(held)),
            spares=tuple(sorted(spares - held)),
            cold=cold,
            rounds=rounds,
            sleep_ms=sleep_ms,
            failures=tuple(failures),
        )

    def _round(
        self, target: int, spare: int, sleep_ms: int
    ) -> tuple[list[WakeAnswer], list[WakeAnswer], list[str]]:
        if target == 0:
            return [], [], []
        with ThreadPoolExecutor(target + spare, thread_name_prefix="wake") as pool:
            holds = [pool.submit(self._waker.wake, sleep_ms) for _ in range(target)]
            self._sleep(sleep_ms / 2000)
            touches = [pool.submit(self._waker.wake, 0) for _ in range(spare)]
            failures: list[str] = []
            held = _answers(holds, failures)
            # Throttled touches mean that concurrency is reserved: then no call can be cold.
            touched = _answers(touches, failures, throttling_is_failure=False)
        return held, touched, failures


def _answers(
    calls: list[Future[WakeAnswer]], failures: list[str], *, throttling_is_failure: bool = True
) -> list[WakeAnswer]:
    answers = []
    for call in calls:
        try:
            answers.append(call.result())
        except ThrottledError as error:
            if throttling_is_failure:
                failures.append(str(error))
        except WakeError as error:
            failures.append(str(error))
    return answers
