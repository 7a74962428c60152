"""Batching, fairness and dropping as pure decisions."""

from __future__ import annotations

from runtime.streaming.errors import DropReason, FrameError, FrameErrorCode
from runtime.streaming.messages import Encoding, Frame
from runtime.streaming.models import ModelHost, Served
from runtime.streaming.scheduler import Decode, Finish, Infer, Scheduler
from runtime.streaming.session import Session
from runtime.streaming.work import Found, Work
from tests.unit.streaming.conftest import FakeDetector, make_session, offer, picture


def host(batch: int = 1) -> ModelHost:
    return ModelHost(Served(offer(), FakeDetector(), batch))


def arrive(scheduler: Scheduler, session: Session, sequence: int) -> tuple[Work, list[Work]]:
    frame = Frame(sequence, 0, Encoding.PNG, picture(sequence))
    work = session.take(frame, received=0)
    return work, scheduler.submit(work)


def decode_next(scheduler: Scheduler, *, now: int = 0) -> Work:
    job, _ = scheduler.next(now)
    assert isinstance(job, Decode)
    job.work.ready_at = now
    scheduler.decoded(job.work)
    return job.work


def test_a_frame_is_decoded_then_inferred_then_finished() -> None:
    scheduler = Scheduler()
    work, _ = arrive(scheduler, make_session(), 0)
    assert decode_next(scheduler) is work
    infer, _ = scheduler.next(0)
    assert isinstance(infer, Infer)
    assert infer.batch == (work,)
    scheduler.inferred(infer)
    assert scheduler.next(0)[0] == Finish(work)
    assert scheduler.next(0) == (None, None)


def test_streams_take_turns_however_many_frames_one_of_them_has() -> None:
    scheduler = Scheduler()
    shared = host(batch=16)
    greedy, modest = make_session(host=shared), make_session(host=shared)
    for sequence in range(6):
        arrive(scheduler, greedy, sequence)
    for sequence in range(2):
        arrive(scheduler, modest, sequence)
    order = [decode_next_only(scheduler).session for _ in range(4)]
    assert order == [greedy, modest, greedy, modest]


def decode_next_only(scheduler: Scheduler) -> Work:
    for _ in range(3):
        job, _ = scheduler.next(0)
        if isinstance(job, Decode):
            return job.work
    raise AssertionError("nothing to decode")


def test_a_batch_takes_one_frame_of_each_stream_before_a_second_of_any() -> None:
    scheduler = Scheduler(max_delay=0)
    shared = host(batch=4)
    sessions = [make_session(host=shared) for _ in range(3)]
    works = []
    for sequence in range(2):
        for session in sessions:
            works.append(arrive(scheduler, session, sequence)[0])
    decoding = [scheduler.next(0)[0] for _ in works]
    assert all(isinstance(job, Decode) for job in decoding)
    for job in decoding:
        scheduler.decoded(job.work)
    infer, _ = scheduler.next(0)
    assert isinstance(infer, Infer)
    assert [work.session for work in infer.batch] == [*sessions, sessions[0]]


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
    one.work.ready_at = 100
    scheduler.decoded(one.work)
    assert scheduler.next(150) == (None, 2100)
    late, _ = scheduler.next(2100)
    assert isinstance(late, Infer)
    assert late.batch == (one.work,)


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
    return ModelHost(Served(offer(), detector, abreast=detector, streams=streams))


def test_a_lone_frame_has_all_processors_to_itself() -> None:
    scheduler = Scheduler()
    arrive(scheduler, make_session(host=side_by_side()), 0)
    decode_next(scheduler)
    infer, _ = scheduler.next(0)
    assert isinstance(infer, Infer)
    assert not infer.abreast


def test_several_frames_are_inferred_side_by_side_up_to_the_number_of_streams() -> None:
    scheduler = Scheduler()
    session = make_session(host=side_by_side(streams=2))
    works = [arrive(scheduler, session, sequence)[0] for sequence in range(3)]
    for _ in works:
        job, _ = scheduler.next(0)
        assert isinstance(job, Decode)
    for work in works:
        scheduler.decoded(work)
    one, _ = scheduler.next(0)
    two, _ = scheduler.next(0)
    assert isinstance(one, Infer)
    assert isinstance(two, Infer)
    assert one.abreast
    assert two.abreast
    assert scheduler.next(0) == (None, None)
    scheduler.inferred(one)
    three, _ = scheduler.next(0)
    assert isinstance(three, Infer)
    assert three.abreast
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
    assert not infer.abreast


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
    work, _ = arrive(scheduler, make_session(), 0)
    job, _ = scheduler.next(0)
    assert isinstance(job, Decode)
    work.outcome = FrameError(FrameErrorCode.UNDECODABLE, "no picture")
    assert scheduler.decoded(work) == [work]
    assert scheduler.next(0) == (None, None)


def test_a_new_model_version_begins_a_batch_of_its_own() -> None:
    scheduler = Scheduler()
    shared = host(batch=4)
    session = make_session(host=shared)
    old, _ = arrive(scheduler, session, 0)
    shared.replace(Served(offer(version="2"), FakeDetector(), 4))
    new, _ = arrive(scheduler, session, 1)
    decode_next_both = [scheduler.next(0)[0] for _ in range(2)]
    for job in decode_next_both:
        assert isinstance(job, Decode)
        scheduler.decoded(job.work)
    first, _ = scheduler.next(0)
    assert isinstance(first, Infer)
    assert first.batch == (old,)
    scheduler.inferred(first)
    old.outcome = Found(())
    second, _ = scheduler.next(0)
    assert isinstance(second, Infer)
    assert second.batch == (new,)
    assert second.served.revision == 1


def test_a_cancelled_stream_leaves_nothing_waiting() -> None:
    scheduler = Scheduler()
    session = make_session()
    works = [arrive(scheduler, session, sequence)[0] for sequence in range(3)]
    decode_next(scheduler)
    assert set(scheduler.cancel(session)) == set(works)
    assert scheduler.frames_waiting == 0
    assert scheduler.next(0) == (None, None)


def test_a_model_that_is_busy_does_not_hide_when_another_ones_batch_is_due() -> None:
    scheduler = Scheduler(max_delay=2000)
    waiting, busy = (
        host(batch=4),
        ModelHost(Served(offer(), FakeDetector(), 1, abreast=FakeDetector(), streams=2)),
    )
    first, second = make_session(host=waiting), make_session(host=waiting)
    arrive(scheduler, first, 0)
    arrive(scheduler, second, 0)
    for job in [scheduler.next(100)[0] for _ in range(2)][:1]:
        job.work.ready_at = 100
        scheduler.decoded(job.work)
    assert scheduler.next(100) == (None, 2100)
    for _ in range(3):
        arrive(scheduler, make_session(host=busy), 0)
    for job in [scheduler.next(100)[0] for _ in range(3)]:
        job.work.ready_at = 100
        scheduler.decoded(job.work)
    assert [type(scheduler.next(100)[0]) for _ in range(2)] == [Infer, Infer]
    assert scheduler.next(100) == (None, 2100)
