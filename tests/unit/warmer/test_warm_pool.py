from __future__ import annotations

import threading
import time
from collections.abc import Callable

from runtime.warmer.errors import BusyError, ThrottledError, WakeError
from runtime.warmer.warm_pool import WakeAnswer, WarmPool, WarmReport


class FakeLambda:
    """Environments as Lambda keeps them: a call takes a free one, or starts another.

    No time passes. The wake-ups of a round overlap: each that sleeps ends when all of the round
    have come and the pool has slept. `overlap_ms`: one that sleeps less than this is over before
    the next comes, as when the calls fan out slowly. `limit`: reserved concurrency.
    """

    def __init__(self, *, warm: int = 0, overlap_ms: int = 0, limit: int | None = None) -> None:
        self.free = [f"e{number}" for number in range(warm)]
        self.busy: set[str] = set()
        self.overlap_ms = overlap_ms
        self.limit = limit
        self.refusal: type[ThrottledError] = BusyError
        self.failures = 0
        self.spares_fail = False
        self.target = self.spare = 0
        self.sleeps: list[int] = []
        self._changed = threading.Condition()
        self._started = warm
        self._come = self._slept = 0

    def acquire(self) -> WakeAnswer:
        """A call begins."""
        with self._changed:
            if self.limit is not None and len(self.busy) >= self.limit:
                raise self.refusal("throttled")
            cold = not self.free
            if cold:
                self._started += 1
                self.free.append(f"e{self._started - 1}")
            taken = self.free.pop(0)
            self.busy.add(taken)
            return WakeAnswer(taken, cold)

    def release(self, answer: WakeAnswer) -> None:
        """It ends."""
        with self._changed:
            self.busy.discard(answer.environment)
            self.free.insert(0, answer.environment)

    def wake(self, sleep_ms: int) -> WakeAnswer:
        """A wake-up."""
        with self._changed:
            self.sleeps.append(sleep_ms)
            rounds = self._come // (self.target + self.spare) + 1
            try:
                answer = self._begin(sleep_ms)
            finally:
                self._come += 1
                self._changed.notify_all()
            if sleep_ms and sleep_ms >= self.overlap_ms:
                last = rounds * (self.target + self.spare)
                self._wait(lambda: self._come >= last and self._slept >= rounds)
            self.release(answer)
        return answer

    def sleep(self, meanwhile: Callable[[], None]) -> None:
        """Until all that sleep have come."""
        with self._changed:
            come = self._slept * (self.target + self.spare) + self.target
            try:
                self._wait(lambda: self._come >= come)
                meanwhile()
            finally:
                self._slept += 1
                self._changed.notify_all()

    def _begin(self, sleep_ms: int) -> WakeAnswer:
        if self.failures:
            self.failures -= 1
            raise WakeError("the function answered with an error")
        if self.spares_fail and sleep_ms == 0:
            raise WakeError("a spare one answered with an error")
        return self.acquire()

    def _wait(self, until: Callable[[], bool]) -> None:
        assert self._changed.wait_for(until, timeout=60), "the round's wake-ups did not all come"


def cycle(
    waker: FakeLambda,
    target: int,
    *,
    spare: int,
    sleep_ms: int = 100,
    max_rounds: int = 4,
    meanwhile: Callable[[float], None] = lambda seconds: None,
) -> WarmReport:
    """`meanwhile` is called in each round when the holds are half over."""
    waker.target, waker.spare = target, spare

    pool = WarmPool(
        waker,
        sleep_ms=sleep_ms,
        max_rounds=max_rounds,
        sleep=lambda seconds: waker.sleep(lambda: meanwhile(seconds)),
    )
    return pool.cycle(target, spare=spare)


def test_overlapping_wakeups_reach_as_many_environments_as_asked_for() -> None:
    report = cycle(FakeLambda(), 5, spare=1)
    assert (report.target, report.reached, report.rounds) == (5, 5, 1)
    assert len(set(report.environments)) == 5
    assert report.cold == 6


def test_a_warm_pool_is_reached_without_a_cold_start() -> None:
    report = cycle(FakeLambda(warm=6), 5, spare=1)
    assert (report.reached, report.cold) == (5, 0)
    assert len(report.spares) == 1
    assert not set(report.spares) & set(report.environments)


def test_wakeups_that_do_not_overlap_sleep_longer_until_they_do() -> None:
    report = cycle(FakeLambda(overlap_ms=150), 3, spare=0)
    assert (report.reached, report.rounds, report.sleep_ms) == (3, 2, 200)


def test_the_sleep_and_the_rounds_are_bounded_and_a_short_count_is_told() -> None:
    waker = FakeLambda(overlap_ms=10_000_000)
    report = cycle(waker, 2, spare=0, sleep_ms=3000, max_rounds=3)
    assert report.reached == 1
    assert report.rounds == 3
    assert max(waker.sleeps) == report.sleep_ms == 5000


def test_a_real_call_during_the_wakeup_finds_a_warm_environment() -> None:
    waker = FakeLambda(warm=6)
    cold: list[bool] = []

    def real_call(_seconds: float) -> None:
        assert len(waker.busy) == 5, "all that are promised are held"
        answer = waker.acquire()
        cold.append(answer.cold)
        waker.release(answer)

    report = cycle(waker, 5, spare=1, meanwhile=real_call)
    assert report.reached == 5
    assert cold == [False]


def test_reserved_concurrency_makes_spares_impossible_and_that_is_no_failure() -> None:
    report = cycle(FakeLambda(limit=5), 5, spare=1)
    assert (report.reached, report.spares, report.failures) == (5, (), ())


def test_an_account_without_room_for_the_target_is_told() -> None:
    waker = FakeLambda(limit=3)
    waker.refusal = ThrottledError
    report = cycle(waker, 5, spare=0, max_rounds=2)
    assert (report.reached, report.busy, report.short) == (3, 0, 2)
    assert report.failures == ("throttled", "throttled")


def test_a_wakeup_that_real_calls_leave_no_room_for_yields_and_counts_them_as_warm() -> None:
    waker = FakeLambda(warm=5, limit=5)
    real = [waker.acquire() for _ in range(2)]
    report = cycle(waker, 5, spare=1)
    assert (report.reached, report.busy, report.short, report.rounds) == (3, 2, 0, 1)
    assert report.failures == ()
    assert not any(call.cold for call in real)


def test_calls_under_way_when_a_wakeup_begins_cost_nothing_later() -> None:
    waker = FakeLambda(warm=6)
    real = [waker.acquire() for _ in range(3)]
    later: list[WakeAnswer] = []

    def one_ends_and_the_next_begins(_seconds: float) -> None:
        assert len(waker.busy) == 3 + 5
        waker.release(real.pop())
        later.append(waker.acquire())

    report = cycle(waker, 5, spare=0, meanwhile=one_ends_and_the_next_begins)
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
    try:
        while not (refused and cold):
            assert cycle(waker, 5, spare=1).cold == 0
    finally:
        done.set()
    for one in callers:
        one.join()
    assert not any(cold)


def test_failed_wakeups_are_made_up_for_by_another_round() -> None:
    waker = FakeLambda()
    waker.failures = 2
    report = cycle(waker, 4, spare=0)
    assert (report.reached, report.rounds, report.failures) == (4, 2, ())


def test_a_spare_environment_that_fails_is_told_and_costs_no_further_round() -> None:
    """`failures` has the messages of wake-ups that failed, the spare ones' among them."""
    waker = FakeLambda()
    waker.spares_fail = True
    report = cycle(waker, 2, spare=1)
    assert (report.reached, report.rounds, report.spares) == (2, 1, ())
    assert report.failures == ("a spare one answered with an error",)


def test_a_target_of_nothing_wakes_nothing() -> None:
    waker = FakeLambda()
    report = cycle(waker, 0, spare=1)
    assert (report.reached, waker.sleeps) == (0, [])


def test_spares_are_touched_when_the_holds_are_half_over() -> None:
    waker = FakeLambda(overlap_ms=150)
    pauses: list[tuple[float, int]] = []

    def pause(seconds: float) -> None:
        pauses.append((seconds, waker.sleeps.count(0)))

    report = cycle(waker, 3, spare=1, meanwhile=pause)
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
