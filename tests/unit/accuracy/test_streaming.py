"""Streaming accuracy on streams made by hand."""

from __future__ import annotations

import pytest

from tests.unit.accuracy.test_detection import Answer, labelled, person
from visionstack.accuracy.detection import Evaluation
from visionstack.accuracy.streaming import StreamedFrame, seen_at_each_frame

PERIOD = 0.1


def stream(*latencies: float | None) -> list[StreamedFrame[str]]:
    """Frame n, captured at n periods, finds `n`."""
    return [
        StreamedFrame(
            captured=number * PERIOD,
            arrived=None if latency is None else number * PERIOD + latency,
            found=() if latency is None else (str(number),),
        )
        for number, latency in enumerate(latencies)
    ]


def test_without_latency_each_frame_is_seen_as_it_is() -> None:
    assert seen_at_each_frame(stream(0, 0, 0)) == [("0",), ("1",), ("2",)]


def test_a_latency_of_one_frame_shows_the_frame_before() -> None:
    late = stream(PERIOD, PERIOD, PERIOD)
    assert seen_at_each_frame(late) == [(), ("0",), ("1",)]
    # Less than a period is as much as a whole one: the world is looked at when a frame is taken.
    assert seen_at_each_frame(stream(0.01, 0.01, 0.01)) == [(), ("0",), ("1",)]


def test_a_longer_round_trip_is_added_to_the_arrivals() -> None:
    assert seen_at_each_frame(stream(0, 0, 0, 0), delay=0.15) == [(), (), ("0",), ("1",)]


def test_a_dropped_frame_leaves_the_one_before() -> None:
    assert seen_at_each_frame(stream(0, None, None, 0)) == [("0",), ("0",), ("0",), ("3",)]


def test_a_result_that_is_overtaken_does_not_come_back() -> None:
    assert seen_at_each_frame(stream(0.35, 0, 0, 0.5, 0.5))[2:] == [("2",), ("2",), ("2",)]


def test_nothing_arrived_is_nothing_seen() -> None:
    assert seen_at_each_frame(stream(None, None)) == [(), ()]


def test_zero_latency_gives_the_average_precision_of_the_pictures_and_one_frame_costs() -> None:
    """A person who walks 20 pixels a frame, 40 wide: one frame late has an IoU of a third."""
    boxes = [(10.0 + 20 * number, 10.0, 50.0 + 20 * number, 90.0) for number in range(10)]
    labels = labelled(*([person(box)] for box in boxes))
    found = [(Answer("person", 0.9, box),) for box in boxes]

    def streamed(latency: float) -> float:
        frames = [
            StreamedFrame(captured=n * PERIOD, arrived=n * PERIOD + latency, found=answer)
            for n, answer in enumerate(found)
        ]
        return Evaluation(labels, seen_at_each_frame(frames)).score.overall.ap50

    assert streamed(0.0) == pytest.approx(Evaluation(labels, found).score.overall.ap50)
    assert streamed(0.0) == pytest.approx(1.0)
    assert streamed(PERIOD) == 0.0
