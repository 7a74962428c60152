"""Batching, fairness and dropping as pure decisions."""

from __future__ import annotations

from runtime.protocol.errors import DropReason, FrameError, FrameErrorCode
from runtime.protocol.messages import Encoding, Frame
from runtime.streaming.frames.frame import Found, FrameJob
from runtime.streaming.frames.scheduler import Decode, Finish, Infer, Scheduler
from runtime.streaming.models import LoadedModel, ModelHost
from runtime.streaming.sessions.answers import Session
from tests.unit.streaming.conftest import FakeDetector, make_session, offer, picture


def host(batch: int = 1) -> ModelHost:
    return ModelHost(LoadedModel(offer(), FakeDetector(), batch))


def arrive(
    scheduler: Scheduler, session: Session, sequence: int
) -> tuple[FrameJob, list[FrameJob]]:
    frame = Frame(sequence, 0, Encoding.PNG, picture(sequence))
    job = session.take(frame, received=0)
    return job, scheduler.submit(job)


def decode_next(scheduler: Scheduler, *, now: int = 0) -> FrameJob:
    step, _ = scheduler.next(now)
    assert isinstance(step, Decode)
    step.job.ready_at = now
    scheduler.decoded(step.job)
    return step.job


def test_a_frame_is_decoded_then_inferred_then_finished() -> None:
    scheduler = Scheduler()
    job, _ = arrive(scheduler, make_session(), 0)
    assert decode_next(scheduler) is job
    infer, _ = scheduler.next(0)
    assert isinstance(infer, Infer)
    assert infer.batch == (job,)
    scheduler.inferred(infer)
    assert scheduler.next(0)[0] == Finish(job)
    assert scheduler.next(0) == (None, None)


def test_streams_take_turns_however_many_frames_one_of_them_has() -> None:
    scheduler = Scheduler()
    shared = host(batch=16)
    greedy, modest = make_session(host=shared), make_session(host=shared)
    for sequence in range(6):
        arrive(scheduler, greedy, sequence)
    for sequence in range(2):
        arrive(scheduler, modest, sequence)
    order = [decode_next_only(scheduler).stream for _ in range(4)]
    assert order == [greedy.stream, modest.stream, greedy.stream, modest.stream]


def test_a_live_stream_keeps_its_turn_when_a_newer_frame_takes_the_place_of_one_that_waits() -> (
    None
):
    """Else streams whose frames come more often than their turns never have one."""
    scheduler = Scheduler()
    shared = host()
    first, second = make_session(live=True, host=shared), make_session(live=True, host=shared)
    arrive(scheduler, first, 0)
    arrive(scheduler, second, 0)
    newer, (obsolete,) = arrive(scheduler, first, 1)

    assert obsolete.outcome is DropReason.NEWER_FRAME
    assert scheduler.frames_waiting == 2
    step, _ = scheduler.next(0)
    assert step == Decode(newer)


def decode_next_only(scheduler: Scheduler) -> FrameJob:
    for _ in range(3):
        step, _ = scheduler.next(0)
        if isinstance(step, Decode):
            return step.job
    raise AssertionError("nothing to decode")


def test_a_batch_takes_one_frame_of_each_stream_before_a_second_of_any() -> None:
    scheduler = Scheduler(max_delay=0)
    shared = host(batch=4)
    sessions = [make_session(host=shared) for _ in range(3)]
    jobs = []
    for sequence in range(2):
        for session in sessions:
            jobs.append(arrive(scheduler, session, sequence)[0])
    decoding = [scheduler.next(0)[0] for _ in jobs]
    assert all(isinstance(step, Decode) for step in decoding)
    for step in decoding:
        scheduler.decoded(step.job)
    infer, _ = scheduler.next(0)
    assert isinstance(infer, Infer)
    assert [job.stream for job in infer.batch] == [s.stream for s in (*sessions, sessions[0])]


def test_a_batch_that_is_not_full_waits_for_frames_being_decoded_but_no_longer_than_allowed() -> (
    None
):
    scheduler = Scheduler(max_delay=2000)
    shared = host(batch=4)
    first, second = make_session(host=shared), make_session(host=shared)
    arrive(scheduler, first, 0)
    arrive(scheduler, second, 0)
    one, _ = scheduler.next(0)
    two, _ = scheduler.next(0)
    assert isinstance(one, Decode)
    assert isinstance(two, Decode)
    one.job.ready_at = 100
    scheduler.decoded(one.job)
    assert scheduler.next(150) == (None, 2100)
    late, _ = scheduler.next(2100)
    assert isinstance(late, Infer)
    assert late.batch == (one.job,)


def test_a_lone_frame_does_not_wait_for_company() -> None:
    scheduler = Scheduler(max_delay=2000)
    arrive(scheduler, make_session(host=host(batch=4)), 0)
    decode_next(scheduler, now=100)
    assert isinstance(scheduler.next(100)[0], Infer)


def test_an_engine_infers_one_batch_at_a_time() -> None:
    scheduler = Scheduler()
    session = make_session()
    for sequence in range(2):
        arrive(scheduler, session, sequence)
    decode_next(scheduler)
    infer, _ = scheduler.next(0)
    decode_next(scheduler)
    assert scheduler.next(0) == (None, None)
    assert isinstance(infer, Infer)
    scheduler.inferred(infer)
    assert isinstance(scheduler.next(0)[0], Infer)


def side_by_side(streams: int = 2) -> ModelHost:
    detector = FakeDetector()
    return ModelHost(LoadedModel(offer(), detector, parallel=detector, streams=streams))


def test_a_lone_frame_has_all_processors_to_itself() -> None:
    scheduler = Scheduler()
    arrive(scheduler, make_session(host=side_by_side()), 0)
    decode_next(scheduler)
    infer, _ = scheduler.next(0)
    assert isinstance(infer, Infer)
    assert not infer.parallel


def test_several_frames_are_inferred_side_by_side_up_to_the_number_of_streams() -> None:
    scheduler = Scheduler()
    session = make_session(host=side_by_side(streams=2))
    jobs = [arrive(scheduler, session, sequence)[0] for sequence in range(3)]
    for _ in jobs:
        step, _ = scheduler.next(0)
        assert isinstance(step, Decode)
    for job in jobs:
        scheduler.decoded(job)
    one, _ = scheduler.next(0)
    two, _ = scheduler.next(0)
    assert isinstance(one, Infer)
    assert isinstance(two, Infer)
    assert one.parallel
    assert two.parallel
    assert scheduler.next(0) == (None, None)
    scheduler.inferred(one)
    three, _ = scheduler.next(0)
    assert isinstance(three, Infer)
    assert three.parallel
    scheduler.inferred(two)
    scheduler.inferred(three)


def test_fewer_frames_than_streams_have_all_processors_one_after_the_other() -> None:
    scheduler = Scheduler()
    session = make_session(host=side_by_side(streams=4))
    for sequence in range(3):
        arrive(scheduler, session, sequence)
    decode_next(scheduler)
    infer, _ = scheduler.next(0)
    assert isinstance(infer, Infer)
    assert not infer.parallel


def test_a_frame_that_has_the_processors_to_itself_is_not_disturbed() -> None:
    scheduler = Scheduler()
    session = make_session(host=side_by_side())
    arrive(scheduler, session, 0)
    decode_next(scheduler)
    alone, _ = scheduler.next(0)
    assert isinstance(alone, Infer)
    arrive(scheduler, session, 1)
    decode_next(scheduler)
    assert scheduler.next(0) == (None, None)
    scheduler.inferred(alone)
    assert isinstance(scheduler.next(0)[0], Infer)


def test_a_newer_live_frame_replaces_the_one_that_waits() -> None:
    scheduler = Scheduler()
    session = make_session(live=True)
    old, dropped = arrive(scheduler, session, 0)
    assert dropped == []
    new, dropped = arrive(scheduler, session, 1)
    assert dropped == [old]
    assert old.outcome is DropReason.NEWER_FRAME
    assert decode_next(scheduler) is new


def test_a_live_stream_never_replaces_the_frames_of_another() -> None:
    scheduler = Scheduler()
    one, other = make_session(live=True), make_session(live=True)
    arrive(scheduler, one, 0)
    assert arrive(scheduler, other, 0)[1] == []
    assert scheduler.frames_waiting == 2


def test_a_lossless_stream_drops_nothing() -> None:
    scheduler = Scheduler()
    session = make_session()
    assert [arrive(scheduler, session, n)[1] for n in range(8)] == [[]] * 8


def test_decoding_stays_close_to_the_engine_so_that_pictures_do_not_pile_up() -> None:
    scheduler = Scheduler()
    session = make_session()
    for sequence in range(8):
        arrive(scheduler, session, sequence)
    decode_next(scheduler)
    assert isinstance(scheduler.next(0)[0], Infer)
    decode_next(scheduler)
    decode_next(scheduler)
    assert scheduler.next(0) == (None, None)


def test_a_frame_that_cannot_be_decoded_is_settled_without_the_engine() -> None:
    scheduler = Scheduler()
    job, _ = arrive(scheduler, make_session(), 0)
    step, _ = scheduler.next(0)
    assert isinstance(step, Decode)
    job.outcome = FrameError(FrameErrorCode.UNDECODABLE, "no picture")
    assert scheduler.decoded(job) == [job]
    assert scheduler.next(0) == (None, None)


def test_a_new_model_version_begins_a_batch_of_its_own() -> None:
    scheduler = Scheduler()
    shared = host(batch=4)
    session = make_session(host=shared)
    old, _ = arrive(scheduler, session, 0)
    shared.replace(LoadedModel(offer(version="2"), FakeDetector(), 4))
    new, _ = arrive(scheduler, session, 1)
    decode_next_both = [scheduler.next(0)[0] for _ in range(2)]
    for step in decode_next_both:
        assert isinstance(step, Decode)
        scheduler.decoded(step.job)
    first, _ = scheduler.next(0)
    assert isinstance(first, Infer)
    assert first.batch == (old,)
    scheduler.inferred(first)
    old.outcome = Found(())
    second, _ = scheduler.next(0)
    assert isinstance(second, Infer)
    assert second.batch == (new,)
    assert second.model.revision == 1


def test_a_cancelled_stream_leaves_nothing_waiting() -> None:
    scheduler = Scheduler()
    session = make_session()
    jobs = [arrive(scheduler, session, sequence)[0] for sequence in range(3)]
    decode_next(scheduler)
    assert set(scheduler.cancel(session.stream)) == set(jobs)
    assert scheduler.frames_waiting == 0
    assert scheduler.next(0) == (None, None)


def test_a_model_that_is_busy_does_not_hide_when_another_ones_batch_is_due() -> None:
    scheduler = Scheduler(max_delay=2000)
    waiting, busy = (
        host(batch=4),
        ModelHost(LoadedModel(offer(), FakeDetector(), 1, parallel=FakeDetector(), streams=2)),
    )
    first, second = make_session(host=waiting), make_session(host=waiting)
    arrive(scheduler, first, 0)
    arrive(scheduler, second, 0)
    for step in [scheduler.next(100)[0] for _ in range(2)][:1]:
        step.job.ready_at = 100
        scheduler.decoded(step.job)
    assert scheduler.next(100) == (None, 2100)
    for _ in range(3):
        arrive(scheduler, make_session(host=busy), 0)
    for step in [scheduler.next(100)[0] for _ in range(3)]:
        step.job.ready_at = 100
        scheduler.decoded(step.job)
    assert [type(scheduler.next(100)[0]) for _ in range(2)] == [Infer, Infer]
    assert scheduler.next(100) == (None, 2100)


def test_the_batch_that_is_due_first_says_when_to_ask_again() -> None:
    scheduler = Scheduler(max_delay=2000)
    for ready_at in (300, 100, 200):
        shared = host(batch=4)
        for session in (make_session(host=shared), make_session(host=shared)):
            arrive(scheduler, session, 0)
        first, _ = scheduler.next(0)
        assert isinstance(first, Decode)
        assert isinstance(scheduler.next(0)[0], Decode)
        first.job.ready_at = ready_at
        scheduler.decoded(first.job)
    assert scheduler.next(350) == (None, 2100)
    assert isinstance(scheduler.next(2100)[0], Infer)
    assert scheduler.next(2150) == (None, 2200)


def test_a_unit_of_video_waits_for_every_picture_of_its_stream_and_the_next_unit_for_it() -> None:
    scheduler = Scheduler()
    session = make_session(host=host(batch=8))
    pictures = [arrive(scheduler, session, sequence)[0] for sequence in range(2)]
    assert [scheduler.next(0)[0] for _ in pictures] == [Decode(one) for one in pictures]
    units = [session.take(Frame(n, 0, Encoding.H264, b""), received=0) for n in (2, 3)]
    for unit in units:
        scheduler.submit(unit)
    for picture_job in pictures:
        assert scheduler.next(0) == (None, None)
        assert scheduler.decoding(session.stream)
        picture_job.outcome = FrameError(FrameErrorCode.UNDECODABLE, "no picture")
        scheduler.decoded(picture_job)
    assert scheduler.next(0)[0] == Decode(units[0])
    assert scheduler.next(0) == (None, None)
