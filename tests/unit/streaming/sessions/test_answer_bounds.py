"""A session at its bounds: sequence numbers, what is kept for a replay, times and flags."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from runtime.inference.changes import ChangeGate
from runtime.protocol.errors import CloseCode, DropReason, FrameError, FrameErrorCode, ProtocolError
from runtime.protocol.messages import (
    Detection,
    Dropped,
    Encoding,
    Frame,
    FrameFailed,
    Result,
    ResultFlag,
)
from runtime.streaming.frames.frame import Found, FrameJob, Predicted, Unchanged
from runtime.streaming.frames.tracks import StreamTracker
from runtime.streaming.models import LoadedModel
from runtime.streaming.sessions.answers import Session
from tests.unit.streaming.conftest import FakeDetector, make_session, offer
from tests.unit.streaming.sessions.test_answers import Outlet, complete, take

ONE = Detection(3, 0.9, (0.0, 0.0, 50.0, 100.0))


def refused(session: Session, sequence: int) -> ProtocolError:
    with pytest.raises(ProtocolError) as error:
        take(session, sequence)
    assert error.value.code is CloseCode.PROTOCOL_ERROR
    return error.value


def test_a_lossless_stream_begins_where_its_hello_says_and_takes_the_next_only() -> None:
    session = make_session(next_sequence=5)
    assert "frame 4 where frame 5 comes next" in refused(session, 4).reason
    refused(session, 6)
    take(session, 5)
    assert session.next_sequence == 6
    refused(session, 5)
    take(session, 6)
    assert session.pending == 2


def test_a_live_stream_takes_the_lowest_it_may_and_any_above_it() -> None:
    session = make_session(live=True, next_sequence=5)
    assert "frame 4 after frame 4" in refused(session, 4).reason
    take(session, 5)
    take(session, 9)
    assert session.next_sequence == 10
    refused(session, 9)
    take(session, 10)


def test_a_frame_of_an_unknown_encoding_has_its_outcome_at_once_and_no_other_has() -> None:
    session = make_session()
    good = take(session, 0)
    bad = session.take(Frame(1, 0, Encoding.UNKNOWN, b"x"), received=7)
    assert good.outcome is None
    assert isinstance(bad.outcome, FrameError)
    assert bad.outcome.code is FrameErrorCode.UNSUPPORTED_ENCODING
    assert bad.received == 7
    assert bad.model is session.host.current
    assert bad.stream is session.stream


def test_it_is_attached_from_attach_to_detach_and_answers_meanwhile_are_kept() -> None:
    session, outlet = make_session(), Outlet()
    assert session._outlet is None
    session.attach(outlet, next_answer=0)
    assert session._outlet is outlet
    jobs = [take(session, number) for number in range(3)]
    complete(session, jobs[0])
    session.detach()
    assert session._outlet is None
    complete(session, jobs[1])
    assert outlet.sequences == [0]
    again = Outlet()
    session.attach(again, next_answer=1)
    assert again.sequences == [1]
    complete(session, jobs[2])
    assert again.sequences == [1, 2]
    assert session.pending == 0


@pytest.mark.parametrize(
    ("answered", "window", "oldest"), [(0, 4, 0), (3, 4, 0), (4, 4, 0), (6, 4, 2), (6, 1, 5)]
)
def test_the_last_window_of_answers_can_be_asked_for_and_none_before(
    answered: int, window: int, oldest: int
) -> None:
    """docs/protocol.md: the server keeps the last `window` answers."""
    session = make_session(window=window)
    session.attach(Outlet(), next_answer=0)
    for number in range(answered):
        complete(session, take(session, number))
    for wanted in range(oldest, answered + 1):
        outlet = Outlet()
        session.attach(outlet, next_answer=wanted)
        assert outlet.sequences == list(range(wanted, answered))
    for wrong in (oldest - 1, answered + 1):
        with pytest.raises(ProtocolError, match=f"only from {oldest} on"):
            session.attach(Outlet(), next_answer=wrong)


def test_before_any_answer_the_oldest_frame_that_waits_is_the_first_that_can_be_asked_for() -> None:
    session = make_session(next_sequence=3)
    for number in (3, 4):
        take(session, number)
    with pytest.raises(ProtocolError, match="from 3 on"):
        session.attach(Outlet(), next_answer=2)
    session.attach(Outlet(), next_answer=3)


def test_a_live_stream_keeps_no_answers() -> None:
    session, outlet = make_session(live=True), Outlet()
    session.attach(outlet, next_answer=0)
    complete(session, take(session, 0))
    assert outlet.sequences == [0]
    again = Outlet()
    session.attach(again, next_answer=1)
    assert again.answers == []


def test_a_forgotten_stream_has_nothing_left() -> None:
    session = make_session()
    session.attach(Outlet(), next_answer=0)
    complete(session, take(session, 0))
    late = take(session, 1)
    complete(session, take(session, 2))
    session.forget()
    assert session.pending == 0
    outlet = Outlet()
    session.attach(outlet, next_answer=3)
    assert outlet.answers == []
    late.outcome = Found(())
    session.complete(late)
    assert outlet.answers == []


def timed(monkeypatch: pytest.MonkeyPatch, sent: int, **job: int) -> Result:
    monkeypatch.setattr("runtime.streaming.sessions.answers.now_us", lambda: sent)
    session, outlet = make_session(), Outlet()
    session.attach(outlet, next_answer=0)
    frame = session.take(Frame(0, 0, Encoding.PNG, b""), received=1000)
    for name, value in job.items():
        setattr(frame, name, value)
    complete(session, frame)
    (result,) = outlet.answers
    assert isinstance(result, Result)
    return result


@pytest.mark.parametrize(
    ("sent", "queue"),
    [
        (1600, 0),
        (1601, 1),
        (2000, 400),
        # Parts that were measured longer than the whole leave nothing for waiting.
        (1500, 0),
        # A duration is 32 bits of microseconds.
        (1600 + 2**32 - 1, 2**32 - 1),
        (1600 + 2**32, 2**32 - 1),
    ],
)
def test_waiting_is_what_the_parts_leave_of_the_time_in_the_server(
    monkeypatch: pytest.MonkeyPatch, sent: int, queue: int
) -> None:
    result = timed(monkeypatch, sent, decode=100, inference=200, post=300, batch=4)
    timing = result.timing
    assert (timing.received, timing.sent, timing.queue) == (1000, sent, queue)
    assert (timing.decode, timing.inference, timing.post, timing.batch) == (100, 200, 300, 4)


def test_a_result_has_its_frames_size_and_its_models_revision(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    result = timed(monkeypatch, 1000, width=640, height=480)
    assert (result.sequence, result.width, result.height) == (0, 640, 480)
    assert (result.revision, result.flags, result.detections) == (0, ResultFlag(0), ())


def tracked(*, live: bool = False) -> tuple[Session, Outlet]:
    plain = make_session(live=live, track=True, key_interval=2)
    session = Session(options=plain.options, host=plain.host, window=8, tracker=StreamTracker(0.3))
    outlet = Outlet()
    session.attach(outlet, next_answer=0)
    return session, outlet


def test_a_tracker_asks_the_detector_for_less_certain_ones_and_skips_between_key_frames() -> None:
    session, _ = tracked()
    assert session.stream.confidence < session.options.confidence
    assert session.stream.serial
    plain = make_session(track=False, key_interval=2)
    assert plain.stream.confidence == plain.options.confidence
    assert plain.stream.iou == plain.options.iou
    assert not plain.stream.serial
    assert make_session(live=True).stream.newest_wins
    assert not plain.stream.newest_wins


@pytest.mark.parametrize(
    ("outcome", "flags"),
    [
        (Found((ONE,)), ResultFlag.TRACKED),
        (Unchanged(), ResultFlag.TRACKED | ResultFlag.UNCHANGED),
        (Predicted(), ResultFlag.TRACKED | ResultFlag.PREDICTED),
    ],
)
def test_flags_say_how_the_boxes_came_about(outcome: Any, flags: ResultFlag) -> None:
    session, outlet = tracked()
    complete(session, take(session, 0), Found((ONE,)))
    complete(session, take(session, 1), outcome)
    first, second = outlet.answers
    assert first.flags == ResultFlag.TRACKED
    assert second.flags == flags
    assert [d.track for d in first.detections] == [d.track for d in second.detections]


def test_between_key_frames_after_a_failed_one_frames_fail_as_it_did() -> None:
    session, outlet = tracked()
    complete(session, take(session, 0), FrameError(FrameErrorCode.ENGINE_FAILED, "it broke"))
    complete(session, take(session, 1), Predicted())
    complete(session, take(session, 2), Found((ONE,)))
    assert [type(answer) for answer in outlet.answers] == [FrameFailed, FrameFailed, Result]
    assert [answer.code for answer in outlet.answers[:2]] == [FrameErrorCode.ENGINE_FAILED] * 2


def test_without_a_tracker_boxes_have_no_flag_and_nothing_found_yet_is_no_error() -> None:
    session, outlet = make_session(), Outlet()
    session.attach(outlet, next_answer=0)
    complete(session, take(session, 0), Unchanged())
    (result,) = outlet.answers
    assert (result.flags, result.detections) == (ResultFlag.UNCHANGED, ())


def test_a_dropped_frame_says_why_and_is_not_answered_again() -> None:
    session, outlet = make_session(live=True), Outlet()
    session.attach(outlet, next_answer=0)
    jobs: list[FrameJob] = [take(session, number) for number in (0, 4)]
    complete(session, jobs[0], DropReason.GOING_AWAY)
    assert outlet.said == [Dropped((0,), DropReason.GOING_AWAY)]
    complete(session, jobs[1])
    assert [answer.sequence for answer in outlet.said[1:]] == [4]
    assert session.pending == 0


def test_a_client_that_asked_is_told_of_a_model_once_before_its_first_result() -> None:
    session, outlet = make_session(model_changes=True), Outlet()
    session.attach(outlet, next_answer=0)
    complete(session, take(session, 0))
    session.host.replace(LoadedModel(offer(version="2"), FakeDetector()))
    for number in (1, 2):
        complete(session, take(session, number))
    kinds = [type(message).__name__ for message in outlet.said]
    assert kinds == ["Result", "Model", "Result", "Result"]
    assert (outlet.said[1].revision, outlet.said[1].offer.version) == (1, "2")
    assert [answer.revision for answer in outlet.answers] == [0, 1, 1]


@pytest.mark.parametrize(
    ("outcome", "goes_on"),
    [(Found((ONE,)), True), (FrameError(FrameErrorCode.ENGINE_FAILED, "it broke"), False)],
)
def test_after_a_failed_frame_the_next_is_inferred_though_nothing_moved(
    outcome: Found | FrameError, goes_on: bool
) -> None:
    """A picture is compared with the last one that was inferred, and that one was not."""
    plain = make_session()
    session = Session(options=plain.options, host=plain.host, window=8, gate=ChangeGate(share=0.1))
    picture = np.zeros((48, 64, 3), np.uint8)
    assert not session.stream.unchanged(picture)
    complete(session, take(session, 0), outcome)
    assert session.stream.unchanged(picture) is goes_on
