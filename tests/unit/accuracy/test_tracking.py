"""Tracks scored on cases that are calculated by hand."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.unit.accuracy.test_detection import ONE, OTHER
from visionstack.accuracy.errors import LabelError
from visionstack.accuracy.labels import Box, Label, LabelledPicture, LabelSet
from visionstack.accuracy.tracking import score_tracks


@dataclass(frozen=True)
class Track:
    track: int | None
    box: Box
    label: str = "person"
    confidence: float = 0.9


def clip(*frames: list[tuple[int | None, Box, bool]]) -> LabelSet:
    return LabelSet(
        source=Path("gt.txt"),
        classes=("person",),
        pictures=tuple(
            LabelledPicture(
                name="a.avi",
                frame=number,
                size=None,
                labels=tuple(
                    Label(name="person", box=box, track=track, ignore=ignore)
                    for track, box, ignore in frame
                ),
            )
            for number, frame in enumerate(frames)
        ),
    )


def test_followed_all_along_is_one() -> None:
    score = score_tracks(clip(*[[(1, ONE, False)]] * 4), [[Track(7, ONE)]] * 4)
    assert (score.mota, score.idf1, score.hota) == pytest.approx((1, 1, 1))
    assert (score.objects, score.tracks, score.switches) == (1, 1, 0)


def test_an_id_that_changes_halfway_costs_a_switch_and_half_the_identity() -> None:
    found = [[Track(7, ONE)]] * 2 + [[Track(8, ONE)]] * 2
    score = score_tracks(clip(*[[(1, ONE, False)]] * 4), found)
    assert score.switches == 1
    assert score.mota == pytest.approx(1 - 1 / 4)
    assert score.idf1 == pytest.approx(0.5)
    # All found (DetA 1), each track half of the object: AssA = 2 / 4, HOTA = sqrt(1 * 1/2).
    assert score.hota == pytest.approx(0.5**0.5)


def test_missed_and_wrong_boxes_are_counted() -> None:
    found = [[Track(7, ONE), Track(9, OTHER)], []]
    score = score_tracks(clip([(1, ONE, False)], [(1, ONE, False)]), found)
    assert score.mota == pytest.approx(1 - (1 + 1) / 2)


def test_what_does_not_count_is_neither_missed_nor_wrong() -> None:
    labels = clip([(1, ONE, False), (2, OTHER, True)])
    assert score_tracks(labels, [[Track(7, ONE), Track(8, OTHER)]]).mota == pytest.approx(1)
    assert score_tracks(labels, [[Track(7, ONE)]]).mota == pytest.approx(1)


def test_labels_that_follow_nobody_or_other_frames_are_refused() -> None:
    with pytest.raises(LabelError, match=r"gt\.txt does not say which boxes are of one object"):
        score_tracks(clip([(None, ONE, False)]), [[]])
    with pytest.raises(LabelError, match="labels 1 frames, and there are answers to 2"):
        score_tracks(clip([(1, ONE, False)]), [[], []])
