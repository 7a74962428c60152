from __future__ import annotations

import threading
import time

from runtime.warmer.errors import BusyError, ThrottledError, WakeError
from runtime.warmer.warm_pool import WakeAnswer, WarmPool, WarmReport


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
        self.refusal: type[ThrottledError] = BusyError
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
                raise self.refusal("throttled")
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


def test_an_account_without_room_for_the_target_is_told() -> None:
    waker = FakeLambda(limit=3)
    waker.refusal = ThrottledError
    report = pool(waker, sleep_ms=20, max_rounds=2).cycle(5, spare=0)
    assert (report.reached, report.busy, report.short) == (3, 0, 2)
    assert report.failures == ("throttled", "throttled")


def test_a_wakeup_that_real_calls_leave_no_room_for_yields_and_counts_them_as_warm() -> None:
    waker = FakeLambda(warm=5, limit=5)
    real = [waker.acquire() for _ in range(2)]
    report = pool(waker).cycle(5, spare=1)
    assert (report.reached, report.busy, report.short, report.rounds) == (3, 2, 0, 1)
    assert report.failures == ()
    assert not any(call.cold for call in real)


def test_calls_under_way_when_a_wakeup_begins_cost_nothing_later() -> None:
    waker = FakeLambda(warm=6)
    real = [waker.acquire() for _ in range(3)]
    later: list[WakeAnswer] = []

    def one_ends_and_the_next_begins() -> None:
        while len(waker.busy) < 3 + 5:
            time.sleep(0.001)
        waker.release(real.pop())
        later.append(waker.acquire())

    caller = threading.Thread(target=one_ends_and_the_next_begins)
    caller.start()
    report = pool(waker, sleep_ms=200).cycle(5, spare=0)
    caller.join()
    assert report.reached == 5
    assert [call.cold for call in later] == [False]


def test_with_the_pool_reserved_no_call_ever_starts_an_environment() -> None:
    waker = FakeLambda(warm=6, limit=6)
    cold: list[bool] = []
    refused: list[bool] = []
    done = threading.Event()

    def caller() -> None:
        while not done.is_set():
            try:
                answer = waker.acquire()
            except ThrottledError:
                refused.append(True)
                time.sleep(0.001)
                continue
            cold.append(answer.cold)
            time.sleep(0.002)
            waker.release(answer)

    callers = [threading.Thread(target=caller) for _ in range(8)]
    for one in callers:
        one.start()
    for _ in range(3):
        assert pool(waker, sleep_ms=50).cycle(5, spare=1).cold == 0
    done.set()
    for one in callers:
        one.join()
    assert refused
    assert cold
    assert not any(cold)


def test_failed_wakeups_are_made_up_for_by_another_round() -> None:
    waker = FakeLambda()
    waker.failures = 2
    report = pool(waker).cycle(4, spare=0)
    assert (report.reached, report.rounds, report.failures) == (4, 2, ())


def test_a_spare_environment_that_fails_is_told_and_costs_no_further_round() -> None:
    """`failures` has the messages of wake-ups that failed, the spare ones' among them."""

    class SparesFail(FakeLambda):
        def wake(self, sleep_ms: int) -> WakeAnswer:
            if sleep_ms == 0:
                raise WakeError("a spare one answered with an error")
            return super().wake(sleep_ms)

    report = pool(SparesFail()).cycle(2, spare=1)
    assert (report.reached, report.rounds, report.spares) == (2, 1, ())
    assert report.failures == ("a spare one answered with an error",)


def test_a_target_of_nothing_wakes_nothing() -> None:
    waker = FakeLambda()
    report = pool(waker).cycle(0, spare=1)
    assert (report.reached, waker.sleeps) == (0, [])


def test_spares_are_touched_when_the_holds_are_half_over() -> None:
    waker = FakeLambda(overlap_ms=150)
    pauses: list[tuple[float, int]] = []

    def pause(seconds: float) -> None:
        pauses.append((seconds, waker.sleeps.count(0)))
        time.sleep(seconds)

    report = WarmPool(waker, sleep_ms=100, max_rounds=4, sleep=pause).cycle(3, spare=1)
    assert report.rounds == 2
    assert pauses == [(0.05, 0), (0.1, 1)]
    assert waker.sleeps.count(0) == 2


def test_the_report_is_what_the_function_returns() -> None:
    report = WarmReport(
        target=3,
        reached=1,
        environments=("a",),
        spares=("b",),
        cold=2,
        busy=1,
        rounds=4,
        sleep_ms=800,
        failures=("no",),
    )
    assert report.short == 1
    assert report.to_json() == {
        "target": 3,
        "reached": 1,
        "environments": ["a"],
        "spares": ["b"],
        "cold": 2,
        "busy": 1,
        "rounds": 4,
        "sleep_ms": 800,
        "failures": ["no"],
    }


def test_of_no_environments_none_is_busy_or_failed() -> None:
    report = WarmPool(FakeLambda(), sleep_ms=10, max_rounds=3).cycle(0, spare=2)
    assert (report.reached, report.busy, report.rounds, report.short) == (0, 0, 1, 0)
    assert (report.environments, report.spares, report.failures) == ((), (), ())
