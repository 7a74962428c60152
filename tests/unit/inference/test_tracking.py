from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from runtime.inference import motion
from runtime.inference.tracking import Track, Tracker, _Object, _without_duplicates

CLIP = Path(__file__).parent / "data" / "pedestrians_yolov3_tiny.npz"
"""All 300 frames of samples/pedestrians.avi through yolov3-tiny (official weights, OpenVINO fp32),
detections above 0.1 confidence: float32 rows (frame, class, confidence, x1, y1, x2, y2)."""

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Seen:
    box: Box
    confidence: float = 0.9
    class_id: int = 0


def walker(x: float, y: float = 100.0, *, confidence: float = 0.9, class_id: int = 0) -> Seen:
    return Seen((x, y, x + 30, y + 80), confidence, class_id)


def clip_detections() -> list[list[Seen]]:
    with np.load(CLIP) as stored:
        rows = stored["arr_0"]
    frames: list[list[Seen]] = [[] for _ in range(int(rows[-1, 0]) + 1)]
    for frame, class_id, confidence, *box in rows.tolist():
        frames[int(frame)].append(Seen(tuple(box), confidence, int(class_id)))
    return frames


def ids(tracks: list[Track]) -> list[int]:
    return [track.id for track in tracks]


def test_a_walking_object_keeps_its_id():
    tracker = Tracker()
    assert {tuple(ids(tracker.update([walker(10 + 4 * n)]))) for n in range(40)} == {(1,)}


def test_a_seen_track_has_the_box_and_class_and_confidence_of_its_detection():
    tracker = Tracker()
    tracker.update([walker(10)])
    seen = walker(14, confidence=0.6, class_id=3)
    assert tracker.update([seen]) == [Track(1, 3, 0.6, seen.box)]


def test_two_objects_that_cross_keep_their_ids():
    tracker = Tracker()
    for n in range(41):
        left, right = walker(10 + 5 * n, 100), walker(210 - 5 * n, 130)
        tracks = tracker.update([left, right] if n % 2 else [right, left])
    assert {t.id: t.box for t in tracks} == {2: left.box, 1: right.box}


def test_boxes_predicted_between_key_frames_follow_a_steady_walk():
    tracker = Tracker()
    for n in range(30):
        if n % 3 == 0:
            tracks = tracker.update([walker(10 + 6 * n)])
        else:
            tracks = tracker.predict()
            if n > 12:
                (track,) = tracks
                assert track.id == 1
                assert track.box == pytest.approx(walker(10 + 6 * n).box, abs=4)


def test_predicting_more_often_than_inferring_keeps_ids_through_a_fast_walk():
    tracker = Tracker()
    every_fourth = [
        ids(tracker.update([walker(10 + 4 * n)]) if n % 4 == 0 else tracker.predict())
        for n in range(80)
    ]
    assert {i for frame in every_fourth for i in frame} == {1}


def test_an_object_that_was_hidden_for_a_while_gets_its_id_back():
    tracker = Tracker(lost_frames=10)
    for n in range(10):
        tracker.update([walker(10 + 3 * n)])
    hidden = [tracker.update([]) for _ in range(8)]
    assert hidden == [[]] * 8
    assert ids(tracker.update([walker(10 + 3 * 18)])) == [1]


def test_of_lost_objects_the_hundred_seen_last_are_remembered():
    """A stream of noise had 4,500 of them, and each of its frames took the event loop 0.4 s."""
    first, second = ([walker(200 * n, y) for n in range(100)] for y in (100, 5000))
    tracker = Tracker()
    for scene in (first, first, second, second, [], []):
        tracker.update(scene)
    assert ids(tracker.update(second)) == list(range(101, 201))
    assert ids(tracker.update(first)) == list(range(201, 301))


def test_an_id_is_never_given_again_to_what_comes_after_a_forgotten_object():
    tracker = Tracker(lost_frames=5)
    for _ in range(3):
        tracker.update([walker(10)])
    for _ in range(7):
        tracker.update([])
    tracker.update([walker(10)])
    assert ids(tracker.update([walker(10)])) == [2]


@pytest.mark.parametrize("size", [0.5, 1, 30])
def test_what_shares_no_pixel_with_an_object_is_another_one(size: float):
    tracker = Tracker()
    tracker.update([Seen((10, 10, 10 + size, 10 + size))])
    assert ids(tracker.update([Seen((500, 500, 500 + size, 500 + size))])) == [2]


def test_an_uncertain_detection_continues_a_track():
    tracker = Tracker(confident=0.5, uncertain=0.1)
    tracker.update([walker(10)])
    assert ids(tracker.update([walker(12, confidence=0.2)])) == [1]


def test_an_uncertain_detection_begins_no_track():
    tracker = Tracker(confident=0.5, uncertain=0.1)
    for _ in range(5):
        assert tracker.update([walker(10, confidence=0.4)]) == []


def test_a_detection_below_uncertain_is_not_looked_at():
    tracker = Tracker(confident=0.5, uncertain=0.3)
    tracker.update([walker(10)])
    assert tracker.update([walker(10, confidence=0.2)]) == []


def test_a_new_object_is_reported_at_once_with_the_id_that_it_keeps():
    tracker = Tracker()
    tracker.update([walker(10)])
    assert ids(tracker.update([walker(10), walker(300)])) == [1, 2]
    assert ids(tracker.update([walker(10), walker(300)])) == [1, 2]


def test_every_confident_detection_of_the_clip_is_reported_once():
    tracker = Tracker(confident=0.3)
    for detections in clip_detections():
        tracks = tracker.update(detections)
        confident = {d.box for d in detections if d.confidence >= 0.3}
        assert confident <= {track.box for track in tracks}
        assert len(set(ids(tracks))) == len(tracks)


def test_without_provisional_tracks_what_appears_in_one_frame_only_is_never_reported():
    tracker = Tracker(provisional=False)
    tracker.update([walker(10)])
    assert ids(tracker.update([walker(10), walker(300)])) == [1]
    assert ids(tracker.update([walker(10)])) == [1]
    assert ids(tracker.update([walker(10), walker(300)])) == [1]
    assert len(tracker.update([walker(10), walker(300)])) == 2


def test_a_detector_that_wavers_between_classes_keeps_the_track():
    tracker = Tracker()
    tracker.update([walker(10, class_id=2)])
    (track,) = tracker.update([walker(10, class_id=7)])
    assert (track.id, track.class_id) == (1, 7)


def test_a_lost_object_is_not_predicted():
    tracker = Tracker()
    tracker.update([walker(10)])
    tracker.update([])
    assert tracker.predict() == []


def test_predicting_before_anything_was_seen_gives_nothing():
    assert Tracker().predict() == []


@pytest.mark.parametrize(
    "box",
    [(10, 10, 10, 50), (10, 50, 40, 10), (0, 0, float("inf"), 5), (float("nan"), 0, 5, 5)],
)
def test_a_box_without_a_finite_area_is_left_out(box: Box):
    tracker = Tracker()
    assert ids(tracker.update([Seen(box), walker(200)])) == [1]


def test_a_shrinking_box_never_turns_inside_out():
    tracker = Tracker()
    for n in range(10):
        tracker.update([Seen((100, 100, 130 - 2 * n, 200 - 10 * n))])
    for _ in range(20):
        for track in tracker.predict():
            assert track.box[0] < track.box[2]
            assert track.box[1] < track.box[3]


def test_the_values_of_bytetrack_yaml_are_the_defaults():
    """track_high_thresh 0.25, track_low_thresh 0.1 and track_buffer 30 of Ultralytics, whose
    tracker removes what it lost when more than 30 frames have passed since."""
    assert ids(Tracker(provisional=False).update([walker(10, confidence=0.25)])) == [1]
    assert ids(Tracker(provisional=False).update([walker(10, confidence=0.249)])) == []
    for hidden, remembered in ((30, True), (31, False)):
        tracker = Tracker()
        for _ in range(3):
            tracker.update([walker(10)])
        for _ in range(hidden):
            assert tracker.update([]) == []
        assert (ids(tracker.update([walker(10)])) == [1]) is remembered


def test_a_confidence_of_exactly_uncertain_is_not_looked_at():
    """As in Ultralytics: `scores > track_low_thresh`."""
    tracker = Tracker()
    tracker.update([walker(10)])
    assert ids(tracker.update([walker(10, confidence=0.1001)])) == [1]
    assert ids(tracker.update([walker(10, confidence=0.1)])) == []


@pytest.mark.parametrize(
    "right",
    [
        {"confident": 0.0, "uncertain": 0.0},
        {"confident": 1.0, "uncertain": 1.0},
        {"confident": 0.4, "uncertain": 0.4},
        {"lost_frames": 0},
    ],
)
def test_a_setting_at_the_end_of_its_range_is_taken(right: dict[str, float]):
    assert Tracker(**right).predict() == []


def test_a_box_as_flat_as_it_is_wide_is_left_out_both_ways():
    for box in ((10, 10, 50, 10), (10, 10, 10, 50), (10, 10, 10.5, 10.5)):
        assert len(Tracker().update([Seen(box)])) == (box[2] > box[0] and box[3] > box[1])


def test_each_seen_object_takes_over_one_lost_one_and_each_lost_one_is_taken_over_once():
    """Two pairs meet in one frame: what is settled for the first must not end the second."""
    tracker = Tracker()
    for frame in range(1, 18):
        walking = [walker(4 + 6 * frame), walker(4 + 6 * frame, 400)] if frame <= 10 else []
        standing = [walker(103), walker(103, 400)] if frame >= 11 else []
        tracks = tracker.update(walking + standing)
    assert sorted(ids(tracks)) == [1, 2]


@pytest.mark.parametrize(
    "wrong", [{"confident": 0.1, "uncertain": 0.2}, {"confident": 1.1}, {"lost_frames": -1}]
)
def test_a_setting_outside_its_range_is_refused_by_name(wrong: dict[str, float]):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Tracker(**wrong)


class UltralyticsResults:
    """What Ultralytics' tracker asks of its detections."""

    def __init__(self, xyxy: np.ndarray, conf: np.ndarray, cls: np.ndarray) -> None:
        self.xyxy, self.conf, self.cls = xyxy, conf, cls

    @property
    def xywh(self) -> np.ndarray:
        extent = self.xyxy[:, 2:] - self.xyxy[:, :2]
        return np.hstack([self.xyxy[:, :2] + extent / 2, extent])

    def __len__(self) -> int:
        return len(self.conf)

    def __getitem__(self, index: np.ndarray) -> "UltralyticsResults":
        return UltralyticsResults(self.xyxy[index], self.conf[index], self.cls[index])


def as_ultralytics(detections: list[Seen]) -> UltralyticsResults:
    return UltralyticsResults(
        np.array([d.box for d in detections], np.float32).reshape(-1, 4),
        np.array([d.confidence for d in detections], np.float32),
        np.array([d.class_id for d in detections], np.float32),
    )


def test_the_clip_is_tracked_as_ultralytics_own_byte_tracker_tracks_it():
    from ultralytics.trackers.byte_tracker import BYTETracker

    theirs = BYTETracker(
        SimpleNamespace(
            track_high_thresh=0.25,
            track_low_thresh=0.1,
            new_track_thresh=0.25,
            track_buffer=30,
            match_thresh=0.8,
            fuse_score=True,
        )
    )
    ours = Tracker(provisional=False)
    pairs: Counter[tuple[int, int]] = Counter()
    only_one = same_frames = 0
    frames = clip_detections()
    for detections in frames:
        index = {d.box: n for n, d in enumerate(detections)}
        our_ids = {index[track.box]: track.id for track in ours.update(detections)}
        rows = theirs.update(as_ultralytics(detections))
        their_ids = {int(row[7]): int(row[4]) for row in rows}
        pairs.update((our_ids[n], their_ids[n]) for n in our_ids.keys() & their_ids.keys())
        only_one += len(our_ids.keys() ^ their_ids.keys())
        same_frames += our_ids.keys() == their_ids.keys()
    of_ours: dict[int, Counter[int]] = {}
    for (our, their), count in pairs.items():
        of_ours.setdefault(our, Counter())[their] += count
    same_id = sum(counts.most_common(1)[0][1] for counts in of_ours.values())
    print(
        f"{same_frames} of {len(frames)} frames alike; "
        f"{sum(pairs.values())} boxes tracked by both, {only_one} by one; "
        f"{same_id} with the same id; {len(of_ours)} tracks of ours, "
        f"{len({their for _, their in pairs})} of theirs"
    )
    assert len(frames) == 300
    assert sum(pairs.values()) > 2000
    assert same_frames >= 0.95 * len(frames)
    assert only_one <= 0.01 * sum(pairs.values())
    assert same_id >= 0.98 * sum(pairs.values())


def met_by_a_lost_walker(*, since: int) -> Tracker:
    """Frames 1 to 10 show a walker, who is then hidden and by the filter's speed (5.6 pixels a
    frame) at 103 in frame 17. Someone stands there from frame `since` on."""
    tracker = Tracker()
    for frame in range(1, 18):
        walking = [walker(4 + 6 * frame)] if frame <= 10 else []
        tracks = tracker.update(walking + [walker(103)] * (frame >= since))
        if 12 <= frame < 17:
            assert ids(tracks) == [2]
    return tracker


def test_where_a_lost_object_lies_on_one_seen_for_longer_the_lost_one_is_forgotten():
    tracker = met_by_a_lost_walker(since=1)
    for _ in range(18, 24):
        assert ids(tracker.update([walker(103)])) == [2]
    where_the_lost_one_would_be = walker(142)
    assert ids(tracker.update([walker(103), where_the_lost_one_would_be])) == [2, 3]


@pytest.mark.parametrize("since", [11, 8], ids=["known for less", "known for as long"])
def test_where_a_lost_object_known_longer_lies_on_a_seen_one_it_goes_on(since: int):
    """ByteTrack's remove_duplicate_stracks keeps the lost one in a tie as well."""
    tracker = met_by_a_lost_walker(since=since)
    (predicted,) = tracker.predict()
    assert (predicted.id, predicted.box) == (1, pytest.approx(walker(103).box, abs=1))
    assert tracker.update([walker(103)]) == [Track(1, 0, 0.9, walker(103).box)]


def known_object(number: int, box: Box, *, began: int, seen: int, lost: bool) -> _Object:
    return _Object(
        number, Seen(box), began, seen, confirmed=True, motion=motion.begin([box])[0], lost=lost
    )


def test_a_sighting_is_taken_over_once_and_the_pairs_after_it_are_settled_too():
    """Two that were lost lie on one that is seen: only the first takes its sighting over, as one
    object is in one place. A pair elsewhere has nothing to do with that."""
    here, there = (0.0, 0.0, 10.0, 10.0), (500.0, 0.0, 510.0, 10.0)
    objects = [
        known_object(1, here, began=1, seen=9, lost=True),
        known_object(2, here, began=2, seen=9, lost=True),
        known_object(3, there, began=3, seen=9, lost=True),
        known_object(5, here, began=10, seen=10, lost=False),
        known_object(6, there, began=10, seen=10, lost=False),
    ]
    left = _without_duplicates(objects)
    assert [(one.id, one.lost, one.seen) for one in left] == [
        (1, False, 10),
        (2, True, 9),
        (3, False, 10),
    ]


def test_one_that_was_lost_takes_one_sighting_over_and_leaves_the_other():
    here, there = (0.0, 0.0, 10.0, 10.0), (500.0, 0.0, 510.0, 10.0)
    objects = [
        known_object(1, here, began=1, seen=9, lost=True),
        known_object(2, there, began=2, seen=9, lost=True),
        known_object(5, here, began=10, seen=10, lost=False),
        known_object(6, here, began=10, seen=10, lost=False),
        known_object(7, there, began=10, seen=10, lost=False),
    ]
    assert [(one.id, one.lost) for one in _without_duplicates(objects)] == [
        (1, False),
        (2, False),
        (6, False),
    ]
