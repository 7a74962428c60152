"""Keeping N environments warm: overlapping wake-ups, counted by the ids they answer with.

One scheduled call warms one environment. N calls that overlap need N environments, and a wake-up
overlaps with the others by staying busy for `sleep_ms`. When fewer than N distinct ids come back,
the calls did not overlap: the sleep is doubled (up to a bound) and the round is run again.

While N environments are held, a real call would find none free and start a cold one. So the pool
is `spare` larger than N: the held ones leave the spare ones free for real calls, and those are kept
alive by a wake-up that sleeps not at all, sent in the middle of the hold, when it can only land on
a spare one.

What real calls can meet while a cycle runs:

- Calls that were under way when it began cost nothing: the wake-ups take what those leave free, or
  start further environments, and a call that ends leaves its environment to the next.
- `spare` calls more than were under way then find a warm environment.
- One call beyond that, or one in the few milliseconds in which the spare ones are touched, starts
  an environment. No schedule of wake-ups can exclude it: Lambda alone chooses which free
  environment a call goes to, so reaching all of them means occupying all of them for a moment.
- Reserved concurrency of at most N and `spare` together excludes it: Lambda then starts nothing
  beyond the pool, and refuses such a call, which the client repeats after a moment.

With reserved concurrency it may also be the wake-up that is refused, since real calls hold the rest
of the pool. Those environments are warm: they count as `busy`, and the cycle does not hold the
others any longer for their sake.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

from runtime.contract import MAX_WAKEUP_SLEEP_MS
from runtime.warmer.errors import BusyError, ThrottledError, WakeError


@dataclass(frozen=True)
class WakeAnswer:
    """Which environment answered, and whether it was started for this call."""

    environment: str
    cold: bool


class Waker(Protocol):
    """Calls the function that is kept warm."""

    def wake(self, sleep_ms: int) -> WakeAnswer:
        """One wake-up. Raises `WakeError`, `ThrottledError`, `BusyError`."""
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
        busy: wake-ups of the last round that met no free environment of those that are reserved.
        rounds: rounds run.
        sleep_ms: sleep of the last round.
        failures: messages of wake-ups that failed.
    """

    target: int
    reached: int
    environments: tuple[str, ...]
    spares: tuple[str, ...]
    cold: int
    busy: int
    rounds: int
    sleep_ms: int
    failures: tuple[str, ...]

    @property
    def short(self) -> int:
        """Environments wanted that were neither reached nor at work."""
        return max(0, self.target - self.reached - self.busy)

    def to_json(self) -> dict[str, Any]:
        """As the warmer function returns it."""
        return {
            "target": self.target,
            "reached": self.reached,
            "environments": list(self.environments),
            "spares": list(self.spares),
            "cold": self.cold,
            "busy": self.busy,
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
        cold = busy = rounds = 0
        sleep_ms = self._sleep_ms
        while rounds < self._max_rounds:
            if rounds:
                sleep_ms = min(sleep_ms * 2, MAX_WAKEUP_SLEEP_MS)
            rounds += 1
            answers, touched, busy, failures = self._round(target, spare, sleep_ms)
            cold += sum(answer.cold for answer in (*answers, *touched))
            ids = {answer.environment for answer in answers}
            spares |= {answer.environment for answer in touched}
            held = max(held, ids, key=len)
            if max(len(held), len(ids) + busy) >= target:
                break
        return WarmReport(
            target=target,
            reached=len(held),
            environments=tuple(sorted(held)),
            spares=tuple(sorted(spares - held)),
            cold=cold,
            busy=busy,
            rounds=rounds,
            sleep_ms=sleep_ms,
            failures=tuple(failures),
        )

    def _round(
        self, target: int, spare: int, sleep_ms: int
    ) -> tuple[list[WakeAnswer], list[WakeAnswer], int, list[str]]:
        if target == 0:
            return [], [], 0, []
        with ThreadPoolExecutor(target + spare, thread_name_prefix="wake") as pool:
            holds = [pool.submit(self._waker.wake, sleep_ms) for _ in range(target)]
            self._sleep(sleep_ms / 2000)
            touches = [pool.submit(self._waker.wake, 0) for _ in range(spare)]
            held, refusals = _outcomes(holds)
            touched, refused_touches = _outcomes(touches)
        busy = [error for error in refusals if isinstance(error, BusyError)]
        failures = [str(error) for error in refusals if error not in busy]
        # A touch that was throttled found no environment free: there is none that it could start.
        failures += [str(e) for e in refused_touches if not isinstance(e, ThrottledError)]
        return held, touched, len(busy), failures


def _outcomes(calls: list[Future[WakeAnswer]]) -> tuple[list[WakeAnswer], list[WakeError]]:
    answers: list[WakeAnswer] = []
    refusals: list[WakeError] = []
    for call in calls:
        try:
            answers.append(call.result())
        except WakeError as error:
            refusals.append(error)
    return answers, refusals
