from __future__ import annotations

import threading
import time

from runtime.warmer.errors import ThrottledError, WakeError
from runtime.warmer.warm_pool import WakeAnswer, WarmPool


class FakeLambda:
    """Environments as Lambda keeps them: a call takes a free one, or starts another.

    `overlap_ms`: a wake-up that sleeps less than this does not overlap with the others, as when
    the calls fan out slowly. `limit`: reserved concurrency.
    """

    def __init__(self, *, warm: int = 0, overlap_ms: int = 0, limit: int | None = None) -> None:
        self.free = [f"e{number}" for number in range(warm)]
        self.busy: set[str] = set()
        self.most_busy = 0
        self.overlap_ms = overlap_ms
        self.limit = limit
        self.failures = 0
        self.sleeps: list[int] = []
        self._lock = threading.Lock()
        self._started = warm

    def acquire(self) -> WakeAnswer:
        """A call begins."""
        with self._lock:
            if self.failures:
                self.failures -= 1
                raise WakeError("the function answered with an error")
            if self.limit is not None and len(self.busy) >= self.limit:
                raise ThrottledError("throttled")
            cold = not self.free
            if cold:
                self._started += 1
                self.free.append(f"e{self._started - 1}")
            taken = self.free.pop(0)
            self.busy.add(taken)
            self.most_busy = max(self.most_busy, len(self.busy))
            return WakeAnswer(taken, cold)

    def release(self, answer: WakeAnswer) -> None:
        """It ends."""
        with self._lock:
            self.busy.discard(answer.environment)
            self.free.insert(0, answer.environment)

    def wake(self, sleep_ms: int) -> WakeAnswer:
        """A wake-up."""
        with self._lock:
            self.sleeps.append(sleep_ms)
        answer = self.acquire()
        if sleep_ms >= self.overlap_ms:
            time.sleep(sleep_ms / 1000)
        self.release(answer)
        return answer


def pool(waker: FakeLambda, *, sleep_ms: int = 100, max_rounds: int = 4) -> WarmPool:
    return WarmPool(waker, sleep_ms=sleep_ms, max_rounds=max_rounds)


def test_overlapping_wakeups_reach_as_many_environments_as_asked_for() -> None:
    report = pool(FakeLambda()).cycle(5, spare=1)
    assert (report.target, report.reached, report.rounds) == (5, 5, 1)
    assert len(set(report.environments)) == 5
    assert report.cold == 6


def test_a_warm_pool_is_reached_without_a_cold_start() -> None:
    report = pool(FakeLambda(warm=6)).cycle(5, spare=1)
    assert (report.reached, report.cold) == (5, 0)
    assert len(report.spares) == 1
    assert not set(report.spares) & set(report.environments)


def test_wakeups_that_do_not_overlap_sleep_longer_until_they_do() -> None:
    report = pool(FakeLambda(overlap_ms=150)).cycle(3, spare=0)
    assert (report.reached, report.rounds, report.sleep_ms) == (3, 2, 200)


def test_the_sleep_and_the_rounds_are_bounded_and_a_short_count_is_told() -> None:
    waker = FakeLambda(overlap_ms=10_000_000)
    unhurried = WarmPool(waker, sleep_ms=3000, max_rounds=3, sleep=lambda seconds: None)
    report = unhurried.cycle(2, spare=0)
    assert report.reached == 1
    assert report.rounds == 3
    assert max(waker.sleeps) == report.sleep_ms == 5000


def test_a_real_call_during_the_wakeup_finds_a_warm_environment() -> None:
    waker = FakeLambda(warm=6)
    cold: list[bool] = []
    done = threading.Event()

    def real_traffic() -> None:
        while not done.is_set():
            if len(waker.busy) == 5:  # all that are promised are held
                answer = waker.acquire()
                cold.append(answer.cold)
                time.sleep(0.002)
                waker.release(answer)
            time.sleep(0.001)

    caller = threading.Thread(target=real_traffic)
    caller.start()
    report = pool(waker, sleep_ms=200).cycle(5, spare=1)
    done.set()
    caller.join()
    assert report.reached == 5
    assert cold
    assert not any(cold)


def test_reserved_concurrency_makes_spares_impossible_and_that_is_no_failure() -> None:
    report = pool(FakeLambda(limit=5)).cycle(5, spare=1)
    assert (report.reached, report.spares, report.failures) == (5, (), ())


def test_a_target_above_the_reserved_concurrency_is_told() -> None:
    report = pool(FakeLambda(limit=3), sleep_ms=20, max_rounds=2).cycle(5, spare=0)
    assert report.reached == 3
    assert report.failures == ("throttled", "throttled")


def test_failed_wakeups_are_made_up_for_by_another_round() -> None:
    waker = FakeLambda()
    waker.failures = 2
    report = pool(waker).cycle(4, spare=0)
    assert (report.reached, report.rounds, report.failures) == (4, 2, ())


def test_a_target_of_nothing_wakes_nothing() -> None:
    waker = FakeLambda()
    report = pool(waker).cycle(0, spare=1)
    assert (report.reached, waker.sleeps) == (0, [])
