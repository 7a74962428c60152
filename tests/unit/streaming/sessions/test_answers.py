"""What a session promises about order, loss and repetition."""

from __future__ import annotations

import gc
import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.protocol.clock import now_us
from runtime.protocol.errors import DropReason, FrameError, FrameErrorCode, ProtocolError
from runtime.protocol.messages import (
    Detection,
    Dropped,
    Encoding,
    Frame,
    FrameFailed,
    Model,
    Result,
    ResultFlag,
)
from runtime.streaming.frames.frame import Found, FrameJob, Predicted, Unchanged
from runtime.streaming.frames.tracks import StreamTracker
from runtime.streaming.models import LoadedModel, ModelHost
from runtime.streaming.sessions.answers import Answer, Session
from tests.unit.streaming.conftest import FakeDetector, make_session, offer, picture


class Outlet:
    def __init__(self) -> None:
        self.said: list[Answer | Model] = []

    def __call__(self, message: Answer | Model) -> None:
        self.said.append(message)

    @property
    def answers(self) -> list[Any]:
        return [message for message in self.said if not isinstance(message, Model)]

    @property
    def sequences(self) -> list[int]:
        return [answer.sequence for answer in self.answers]


def take(session: Session, sequence: int) -> FrameJob:
    return session.take(Frame(sequence, 0, Encoding.PNG, picture(0)), received=now_us())


def complete(session: Session, job: FrameJob, outcome: object = None) -> None:
    job.outcome = outcome if outcome is not None else Found(())
    session.complete(job)


@given(st.permutations(range(8)))
def test_answers_leave_in_the_order_of_the_frames_whatever_is_finished_first(
    order: list[int],
) -> None:
    session, outlet = make_session(), Outlet()
    session.attach(outlet, next_answer=0)
    jobs = [take(session, sequence) for sequence in range(8)]
    for index in order:
        complete(session, jobs[index])
    assert outlet.sequences == list(range(8))
    assert session.pending == 0


@given(st.integers(0, 8), st.integers(0, 8), st.integers(0, 8))
def test_after_a_reconnect_nothing_is_lost_repeated_or_out_of_order(
    settled_before: int, received_by_client: int, settled_between: int
) -> None:
    session, first = make_session(), Outlet()
    session.attach(first, next_answer=0)
    jobs = [take(session, sequence) for sequence in range(8)]
    settled_before = min(settled_before, 8)
    received = min(received_by_client, settled_before)
    for job in jobs[:settled_before]:
        complete(session, job)
    session.detach()
    until = min(8, settled_before + settled_between)
    for job in jobs[settled_before:until]:
        complete(session, job)
    second = Outlet()
    session.attach(second, next_answer=received)
    for job in jobs[until:]:
        complete(session, job)
    assert first.sequences[:received] + second.sequences == list(range(8))


def test_answers_that_are_no_longer_kept_cannot_be_asked_for() -> None:
    session = make_session(window=2)
    session.attach(Outlet(), next_answer=0)
    for sequence in range(5):
        complete(session, take(session, sequence))
    session.detach()
    with pytest.raises(ProtocolError, match="only from 3 on"):
        session.attach(Outlet(), next_answer=2)


def test_answers_from_the_future_cannot_be_asked_for() -> None:
    session = make_session()
    with pytest.raises(ProtocolError):
        session.attach(Outlet(), next_answer=1)


def test_a_lossless_stream_takes_no_gap_and_no_repetition() -> None:
    session = make_session()
    take(session, 0)
    for wrong in (0, 2):
        with pytest.raises(ProtocolError, match="frame 1 comes next"):
            take(session, wrong)


def test_a_live_stream_takes_gaps_but_not_the_past() -> None:
    session = make_session(live=True)
    take(session, 0)
    take(session, 5)
    with pytest.raises(ProtocolError, match="frame 5 after frame 5"):
        take(session, 5)


def test_a_dropped_frame_is_reported_at_once_and_holds_nobody_up() -> None:
    session, outlet = make_session(live=True), Outlet()
    session.attach(outlet, next_answer=0)
    old, dropped, new = (take(session, sequence) for sequence in range(3))
    complete(session, dropped, DropReason.NEWER_FRAME)
    assert outlet.answers == [Dropped((1,))]
    complete(session, old)
    complete(session, new)
    assert [answer.sequence for answer in outlet.answers[1:]] == [0, 2]


def test_a_failed_frame_is_answered_in_its_turn() -> None:
    session, outlet = make_session(), Outlet()
    session.attach(outlet, next_answer=0)
    jobs = [take(session, sequence) for sequence in range(3)]
    complete(session, jobs[1], FrameError(FrameErrorCode.ENGINE_FAILED, "it broke"))
    complete(session, jobs[2])
    assert outlet.answers == []
    complete(session, jobs[0])
    assert outlet.answers[1] == FrameFailed(1, FrameErrorCode.ENGINE_FAILED, "it broke")
    assert outlet.sequences == [0, 1, 2]


def test_the_parts_of_the_time_in_the_server_sum_to_the_whole() -> None:
    session, outlet = make_session(), Outlet()
    session.attach(outlet, next_answer=0)
    job = session.take(Frame(0, 0, Encoding.PNG, b""), received=now_us() - 50_000)
    job.decode, job.inference, job.post = 3000, 20_000, 1000
    complete(session, job)
    timing = outlet.answers[0].timing
    assert timing.queue > 0
    assert timing.decode + timing.queue + timing.inference + timing.post == (
        timing.sent - timing.received
    )


def test_an_unchanged_frame_repeats_the_last_detections_and_says_so() -> None:
    session, outlet = make_session(), Outlet()
    session.attach(outlet, next_answer=0)
    one = Detection(3, 0.5, (1.0, 2.0, 3.0, 4.0))
    complete(session, take(session, 0), Found((one,)))
    complete(session, take(session, 1), Unchanged())
    first, second = outlet.answers
    assert second.detections == first.detections == (one,)
    assert second.flags == ResultFlag.UNCHANGED


def test_an_unchanged_frame_after_a_failed_one_fails_too() -> None:
    session, outlet = make_session(), Outlet()
    session.attach(outlet, next_answer=0)
    complete(session, take(session, 0), FrameError(FrameErrorCode.ENGINE_FAILED, "it broke"))
    complete(session, take(session, 1), Unchanged())
    assert [type(answer) for answer in outlet.answers] == [FrameFailed, FrameFailed]


def test_a_stream_does_not_keep_the_model_that_it_began_with() -> None:
    host = ModelHost(LoadedModel(offer(), FakeDetector()))
    session = make_session(host=host)
    session.attach(Outlet(), next_answer=0)
    complete(session, take(session, 0))
    replaced = weakref.ref(host.current.detector)
    gc.collect()
    gc.disable()
    try:
        host.replace(LoadedModel(offer(version="2"), FakeDetector()))
        assert replaced() is None
    finally:
        gc.enable()


def test_a_tracked_stream_infers_every_nth_frame_and_moves_the_boxes_between() -> None:
    session = make_session(track=True, key_interval=3)
    tracked = Session(
        options=session.options, host=session.host, window=8, tracker=StreamTracker(0.3)
    )
    outlet = Outlet()
    tracked.attach(outlet, next_answer=0)
    keys = []
    for sequence in range(6):
        job = take(tracked, sequence)
        keys.append(tracked.stream.next_is_key(job.model))
        left = 10.0 * sequence
        seen = Found((Detection(0, 0.9, (left, 0.0, left + 50, 100.0)),))
        complete(tracked, job, seen if keys[-1] else Predicted())
    assert keys == [True, False, False, True, False, False]
    flags = [bool(answer.flags & ResultFlag.PREDICTED) for answer in outlet.answers]
    assert flags == [False, True, True, False, True, True]
    assert {d.track for answer in outlet.answers for d in answer.detections} == {1}
    assert outlet.answers[5].detections[0].box[0] > outlet.answers[3].detections[0].box[0]


def test_a_frame_that_a_thread_is_still_writing_to_is_not_answered_before_it_is_handed_over() -> (
    None
):
    session, outlet = make_session(), Outlet()
    session.attach(outlet, next_answer=0)
    first, second = (take(session, sequence) for sequence in range(2))
    # As the pipeline does it: the outcome first, how long it took afterwards.
    second.outcome = Found(())
    complete(session, first)
    assert outlet.sequences == [0]
    second.post = 1000
    session.complete(second)
    assert outlet.sequences == [0, 1]
    assert outlet.answers[1].timing.post == 1000


def test_several_frames_dropped_together_are_each_reported_as_dropped() -> None:
    session, outlet = make_session(live=True), Outlet()
    session.attach(outlet, next_answer=0)
    jobs = [take(session, sequence) for sequence in range(3)]
    for job in jobs:
        job.outcome = DropReason.GOING_AWAY
    for job in jobs:
        session.complete(job)
    assert outlet.answers == [Dropped((n,), DropReason.GOING_AWAY) for n in range(3)]
    assert session.pending == 0


def test_a_session_refuses_every_thread_but_its_own() -> None:
    session = make_session()
    job = take(session, 0)
    calls = [
        lambda: take(session, 1),
        lambda: complete(session, job),
        lambda: session.attach(Outlet(), next_answer=0),
        session.detach,
        session.forget,
    ]
    with ThreadPoolExecutor(1) as elsewhere:
        for call in calls:
            with pytest.raises(RuntimeError, match="belongs to the event loop's thread"):
                elsewhere.submit(call).result()
    assert (session.pending, session.next_sequence) == (1, 1)


def test_what_is_replayed_after_a_change_of_the_model_is_told_apart() -> None:
    old, new = (
        LoadedModel(offer(version=version, labels=(version,)), FakeDetector())
        for version in ("old", "new")
    )
    host = ModelHost(old)
    session, first, second = make_session(host=host, model_changes=True), Outlet(), Outlet()
    session.attach(first, next_answer=0)
    jobs = [take(session, 0)]
    host.replace(new)
    jobs.append(take(session, 1))
    for job in jobs:
        complete(session, job)
    session.detach()
    session.attach(second, next_answer=0)
    assert [type(message) for message in first.said] == [Result, Model, Result]
    told = [(m.revision, m.offer.version) for m in second.said if isinstance(m, Model)]
    assert told == [(0, "old"), (1, "new")]
    assert [type(message) for message in second.said] == [Model, Result, Model, Result]


def test_a_client_that_did_not_ask_is_told_of_no_model() -> None:
    host = ModelHost(LoadedModel(offer(version="old"), FakeDetector()))
    session, outlet = make_session(host=host), Outlet()
    session.attach(outlet, next_answer=0)
    host.replace(LoadedModel(offer(version="new"), FakeDetector()))
    complete(session, take(session, 0))
    assert [type(message) for message in outlet.said] == [Result]
