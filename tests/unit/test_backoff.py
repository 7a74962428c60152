"""One back-off for all callers."""

from __future__ import annotations

from runtime.backoff import doubled, full_jitter


def test_the_ceiling_doubles_to_the_longest_and_all_below_it_may_be_drawn() -> None:
    def waits(draw: float) -> list[float]:
        return [full_jitter(n, first=0.5, longest=5, draw=lambda: draw) for n in (0, 1, 2, 3, 9)]

    assert waits(1.0) == [0.5, 1, 2, 4, 5]
    assert waits(0.0) == [0, 0, 0, 0, 0]


def test_somebody_who_tries_for_days_still_gets_a_number() -> None:
    """2 ** 1024 is no float: the stream client's own formula ended in an OverflowError there."""
    assert full_jitter(5000, first=0.1, longest=5, draw=lambda: 1.0) == 5


def test_one_that_is_alone_waits_as_long_as_is_said() -> None:
    waits = [doubled(n, first=0.5, longest=5) for n in (0, 1, 2, 3, 4, 5000)]
    assert waits == [0.5, 1, 2, 4, 5, 5]
