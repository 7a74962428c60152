"""What is counted, what memory allows and when frames go side by side, at the exact bounds."""

from __future__ import annotations

from runtime.protocol.errors import FrameError, FrameErrorCode
from runtime.streaming.frames.frame import FrameJob
from runtime.streaming.frames.scheduler import Decode, Finish, Infer, Scheduler
from runtime.streaming.models import LoadedModel
from runtime.streaming.sessions.answers import Session
from tests.unit.streaming.conftest import FakeDetector, make_session, offer
from tests.unit.streaming.frames.test_scheduler import arrive, decode_next, host, side_by_side


def decoding_at_once(scheduler: Scheduler, sessions: list[Session]) -> list[FrameJob]:
    """A frame of each, all given out to be decoded and none yet decoded."""
    for session in sessions:
        arrive(scheduler, session, 0)
    steps = [scheduler.next(0)[0] for _ in sessions]
    assert all(isinstance(step, Decode) for step in steps)
    return [step.job for step in steps]


def test_without_a_delay_a_batch_waits_for_nothing() -> None:
    scheduler = Scheduler()
    shared = host(batch=4)
    first, _ = decoding_at_once(scheduler, [make_session(host=shared) for _ in range(2)])
    scheduler.decoded(first)
    assert scheduler.next(0) == (Infer(shared.current, (first,)), None)


def test_it_counts_the_frames_that_nobody_works_on() -> None:
    scheduler = Scheduler()
    session = make_session()
    counts = [scheduler.frames_waiting]
    for sequence in range(2):
        arrive(scheduler, session, sequence)
        counts.append(scheduler.frames_waiting)
    step, _ = scheduler.next(0)
    counts.append(scheduler.frames_waiting)
    scheduler.decoded(step.job)
    counts.append(scheduler.frames_waiting)
    scheduler.next(0)
    counts.append(scheduler.frames_waiting)
    scheduler.cancel(session.stream)
    assert [*counts, scheduler.frames_waiting] == [0, 1, 2, 1, 2, 1, 0]


def test_another_thread_is_wanted_only_where_it_finds_something_to_do() -> None:
    scheduler = Scheduler()
    assert scheduler.runnable is False
    session = make_session()
    arrive(scheduler, session, 0)
    assert scheduler.runnable is True
    first, _ = scheduler.next(0)
    assert scheduler.runnable is False
    assert scheduler.decoded(first.job) == []
    assert scheduler.runnable is True
    infer, _ = scheduler.next(0)
    assert scheduler.runnable is False
    arrive(scheduler, session, 1)
    second, _ = scheduler.next(0)
    scheduler.decoded(second.job)
    # It is ready, and the engine has the processors to itself.
    assert scheduler.runnable is False
    assert scheduler.inferred(infer) == []
    assert scheduler.runnable is True
    scheduler.cancel(session.stream)
    assert scheduler.runnable is True
    assert scheduler.next(0)[0] == Finish(first.job)
    assert scheduler.runnable is False


def test_of_a_batch_those_that_failed_come_back_and_the_others_are_finished() -> None:
    scheduler = Scheduler()
    shared = host(batch=3)
    jobs = decoding_at_once(scheduler, [make_session(host=shared) for _ in range(3)])
    for job in jobs:
        scheduler.decoded(job)
    infer, _ = scheduler.next(0)
    assert isinstance(infer, Infer)
    jobs[1].outcome = FrameError(FrameErrorCode.ENGINE_FAILED, "it broke")
    assert scheduler.inferred(infer) == [jobs[1]]
    assert [scheduler.next(0)[0] for _ in range(3)] == [Finish(jobs[0]), Finish(jobs[2]), None]


def test_a_frame_that_is_put_off_is_the_next_of_its_stream_and_is_not_being_decoded() -> None:
    scheduler = Scheduler(memory=100)
    session = make_session()
    first, _ = arrive(scheduler, session, 0)
    arrive(scheduler, session, 1)
    assert scheduler.next(0)[0] == Decode(first)
    assert scheduler.decoding(session.stream)
    scheduler.postpone(first, memory=60)
    assert not scheduler.decoding(session.stream)
    assert scheduler.frames_waiting == 2
    assert scheduler.next(0)[0] == Decode(first)


def test_a_postponed_frame_of_a_stream_in_order_is_decoded_again() -> None:
    scheduler = Scheduler(memory=100)
    session = make_session()
    session.stream.serial = True
    job, _ = arrive(scheduler, session, 0)
    assert scheduler.next(0)[0] == Decode(job)
    scheduler.postpone(job, memory=60)
    assert scheduler.next(0)[0] == Decode(job)
    assert scheduler.next(0) == (None, None)


def decoded_after(scheduler: Scheduler, session: Session, sequence: int, *, work: int) -> None:
    """The stream's frame is decoded, which takes so many microseconds of a processor."""
    job, _ = arrive(scheduler, session, sequence)
    assert scheduler.next(0)[0] == Decode(job)
    job.work = work
    job.outcome = FrameError(FrameErrorCode.UNDECODABLE, "no picture")
    assert scheduler.decoded(job) == [job]


def test_streams_that_are_slow_to_decode_leave_a_thread_to_the_others() -> None:
    """Six streams of slow pictures held every thread: another one's frames took half a second."""
    scheduler = Scheduler(slow=1)
    shared = host()
    sessions = [make_session(host=shared) for _ in range(4)]
    for session, work in zip(sessions, (20_001, 20_001, 20_000, 0), strict=True):
        decoded_after(scheduler, session, 0, work=work)
    jobs = [arrive(scheduler, session, 1)[0] for session in sessions]
    # The engine takes one at a time, so two are decoded for it; slow ones are not for soon.
    steps = [scheduler.next(59_999_999)[0] for _ in range(4)]
    assert steps == [*map(Decode, (jobs[0], jobs[2], jobs[3])), None]
    for job in (jobs[0], *jobs[2:]):
        job.outcome = FrameError(FrameErrorCode.UNDECODABLE, "no picture")
        scheduler.decoded(job)
    assert [scheduler.next(59_999_999)[0] for _ in range(2)] == [Decode(jobs[1]), None]


def test_a_first_frame_that_takes_long_is_not_waited_for() -> None:
    scheduler = Scheduler(slow=2)
    shared = host()
    known, *new = (make_session(host=shared) for _ in range(3))
    decoded_after(scheduler, known, 0, work=0)
    first, second = (arrive(scheduler, session, 0)[0] for session in new)
    assert [scheduler.next(now)[0] for now in (5, 6)] == [Decode(first), Decode(second)]
    job, _ = arrive(scheduler, known, 1)
    # Both may be there in a moment, and the engine takes one at a time.
    assert scheduler.next(20_004) == (None, 20_005)
    assert scheduler.next(20_005) == (Decode(job), None)


def test_a_stream_is_slow_for_a_minute_and_until_its_first_frame_is_decoded() -> None:
    scheduler = Scheduler(slow=1)
    once, new, newer = (make_session(host=host()) for _ in range(3))
    decoded_after(scheduler, once, 0, work=30_000)
    first, second, third = (
        arrive(scheduler, session, sequence)[0]
        for session, sequence in ((new, 0), (newer, 0), (once, 1))
    )
    assert scheduler.next(59_999_999)[0] == Decode(first)
    assert scheduler.next(59_999_999)[0] is None
    assert scheduler.next(60_000_000)[0] == Decode(third)
    # One that is put off holds no place meanwhile.
    scheduler.postpone(first, memory=1)
    assert scheduler.next(60_000_000)[0] in (Decode(first), Decode(second))


def test_frames_share_the_memory_and_none_overtakes_a_large_one_that_waits_for_it() -> None:
    scheduler = Scheduler(memory=100)
    shared = host(batch=8)
    jobs = decoding_at_once(scheduler, [make_session(host=shared) for _ in range(4)])
    for job, wanted in zip(jobs, (60, 41, 1, 0), strict=True):
        scheduler.postpone(job, memory=wanted)
    # 60 of 100 are taken, 41 are not left: what wants a byte waits behind, what wants none goes.
    assert scheduler.next(0)[0] == Decode(jobs[0])
    assert scheduler.next(0)[0] == Decode(jobs[3])
    assert scheduler.next(0) == (None, None)
    for job in (jobs[0], jobs[3]):
        job.outcome = FrameError(FrameErrorCode.UNDECODABLE, "no picture")
        scheduler.decoded(job)
    assert [scheduler.next(0)[0] for _ in range(2)] == [Decode(jobs[1]), Decode(jobs[2])]


def test_memory_that_is_exactly_left_is_enough_and_a_frame_above_all_of_it_goes_alone() -> None:
    scheduler = Scheduler(memory=100)
    shared = host(batch=8)
    jobs = decoding_at_once(scheduler, [make_session(host=shared) for _ in range(3)])
    for job, wanted in zip(jobs, (60, 40, 500), strict=True):
        scheduler.postpone(job, memory=wanted)
    assert [scheduler.next(0)[0] for _ in range(3)] == [Decode(jobs[0]), Decode(jobs[1]), None]
    for job in jobs[:2]:
        assert scheduler.next(0) == (None, None)
        job.outcome = FrameError(FrameErrorCode.UNDECODABLE, "no picture")
        scheduler.decoded(job)
    assert scheduler.next(0)[0] == Decode(jobs[2])
    jobs[2].outcome = jobs[0].outcome
    scheduler.decoded(jobs[2])
    small, _ = arrive(scheduler, make_session(host=shared), 0)
    small.memory = 100
    assert scheduler.next(0)[0] == Decode(small)


def test_a_model_with_enough_pictures_does_not_keep_those_of_another_from_being_decoded() -> None:
    scheduler = Scheduler()
    full, free = make_session(host=host()), make_session(host=host())
    jobs = [arrive(scheduler, full, sequence)[0] for sequence in range(3)]
    # Twice the batch of one is enough of the first.
    assert [scheduler.next(0)[0] for _ in range(3)] == [Decode(jobs[0]), Decode(jobs[1]), None]
    job, _ = arrive(scheduler, free, 0)
    assert scheduler.next(0)[0] == Decode(job)
    assert scheduler.next(0) == (None, None)


def test_a_live_stream_has_one_frame_ahead_of_the_engine() -> None:
    scheduler = Scheduler()
    session = make_session(live=True, host=host(batch=8))
    arrive(scheduler, session, 0)
    first, _ = scheduler.next(0)
    arrive(scheduler, session, 1)
    assert scheduler.next(0) == (None, None)
    first.job.ready_at = 0
    scheduler.decoded(first.job)
    infer, _ = scheduler.next(0)
    assert isinstance(infer, Infer)
    assert isinstance(scheduler.next(0)[0], Decode)


def test_frames_that_still_wait_or_are_being_decoded_count_for_going_side_by_side() -> None:
    for waiting in (True, False):
        scheduler = Scheduler()
        session = make_session(host=side_by_side(streams=2))
        first, _ = arrive(scheduler, session, 0)
        assert scheduler.next(0)[0] == Decode(first)
        arrive(scheduler, session, 1)
        if not waiting:
            scheduler.next(0)
        scheduler.decoded(first)
        infer, _ = scheduler.next(0)
        assert infer == Infer(session.host.current, (first,), parallel=True)


def test_side_by_side_goes_on_until_none_is_under_way_and_the_next_has_all_to_itself() -> None:
    scheduler = Scheduler()
    session = make_session(host=side_by_side(streams=2))
    for sequence in range(3):
        arrive(scheduler, session, sequence)
    for _ in range(2):
        decode_next_only_and_decode(scheduler)
    one, _ = scheduler.next(0)
    two, _ = scheduler.next(0)
    assert [one.parallel, two.parallel] == [True, True]
    decode_next_only_and_decode(scheduler)
    assert scheduler.next(0) == (None, None)
    scheduler.inferred(one)
    three, _ = scheduler.next(0)
    assert three.parallel
    for step in (two, three):
        scheduler.inferred(step)
    lone, _ = arrive(scheduler, session, 3)
    finished = [scheduler.next(0)[0] for _ in range(3)]
    assert all(isinstance(step, Finish) for step in finished)
    decode_next(scheduler)
    alone, _ = scheduler.next(0)
    assert alone == Infer(session.host.current, (lone,), parallel=False)


def decode_next_only_and_decode(scheduler: Scheduler) -> None:
    """As `decode_next`, where inferences may come first: only one to decode is expected here."""
    step, _ = scheduler._decode()
    assert step is not None
    scheduler.decoded(step.job)


def test_a_stream_whose_turn_it_is_not_keeps_none_of_the_others_from_being_decoded() -> None:
    """One that is in order, and a live one that is ahead, each wait alone."""
    for waits in ("serial", "newest_wins"):
        scheduler = Scheduler()
        shared = host(batch=8)
        first, other = make_session(host=shared), make_session(host=shared)
        setattr(first.stream, waits, True)
        arrive(scheduler, first, 0)
        assert isinstance(scheduler.next(0)[0], Decode)
        arrive(scheduler, first, 1)
        job, _ = arrive(scheduler, other, 0)
        assert scheduler.next(0)[0] == Decode(job)
        assert scheduler.next(0) == (None, None)


def test_of_a_live_stream_one_decoded_frame_waits_and_no_second_is_decoded() -> None:
    scheduler = Scheduler()
    shared = host()
    live, other = make_session(live=True, host=shared), make_session(host=shared)
    arrive(scheduler, other, 0)
    decode_next(scheduler)
    busy, _ = scheduler.next(0)
    assert isinstance(busy, Infer)
    arrive(scheduler, live, 0)
    waiting = decode_next(scheduler)
    newer, _ = arrive(scheduler, live, 1)
    assert scheduler.next(0) == (None, None)

    scheduler.inferred(busy)
    assert scheduler.next(0)[0] == Infer(shared.current, (waiting,))
    assert scheduler.next(0)[0] == Finish(busy.batch[0])
    assert scheduler.next(0)[0] == Decode(newer)


def test_a_model_that_wants_all_processors_waits_for_those_of_the_one_before() -> None:
    scheduler = Scheduler()
    shared = side_by_side(streams=2)
    before = decoding_at_once(scheduler, [make_session(host=shared) for _ in range(2)])
    for job in before:
        scheduler.decoded(job)
    running = [scheduler.next(0)[0] for _ in before]
    assert all(isinstance(step, Infer) and step.parallel for step in running)

    shared.replace(LoadedModel(offer(version="2"), FakeDetector()))
    (job,) = decoding_at_once(scheduler, [make_session(host=shared)])
    scheduler.decoded(job)
    assert scheduler.next(0) == (None, None)
    for step in running:
        scheduler.inferred(step)
    steps = [scheduler.next(0)[0] for _ in range(3)]
    assert Infer(shared.current, (job,)) in steps
