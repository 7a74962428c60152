"""Threads that decode, infer and finish frames, whichever the scheduler says is next.

All threads are alike: one that has decoded a frame goes on to infer it itself when the engine is
free, so that a single frame in flight crosses threads only twice (in from the event loop and back),
while with several frames one thread keeps the engine busy and the others decode and finish.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from runtime.inference.errors import InferenceError
from runtime.streaming.clock import now_us
from runtime.streaming.errors import FrameError, FrameErrorCode, MemoryNeededError
from runtime.streaming.limits import LIGHT_BYTES, Limits
from runtime.streaming.memory import MemoryBudget, return_freed_memory
from runtime.streaming.messages import Detection
from runtime.streaming.pictures import decode_frame
from runtime.streaming.scheduler import Decode, Finish, Infer, Job, Scheduler
from runtime.streaming.session import Session
from runtime.streaming.work import Found, Predicted, Unchanged, Work

log = logging.getLogger(__name__)


class Observer(Protocol):
    """Is told what the engines did; called from the pipeline's threads.

    `microseconds` is the time for which the whole engine was occupied.
    """

    def batch_inferred(self, *, model: str, frames: int, microseconds: int) -> None: ...


class Pipeline:
    """`settled` is called with finished frames, from any of the threads."""

    def __init__(
        self,
        *,
        settled: Callable[[Sequence[Work]], None],
        observer: Observer,
        frame_pixels: int,
        threads: int,
        max_delay_us: int = 0,
        limits: Limits | None = None,
    ) -> None:
        limits = limits or Limits()
        self._settled = settled
        self._observer = observer
        self._frame_pixels = frame_pixels
        self._scheduler = Scheduler(max_delay=max_delay_us, memory=limits.decoding_bytes)
        self._memory = limits.decoding_bytes
        self._videos = MemoryBudget(limits.video_bytes)
        self._ended: set[Session] = set()
        """Streams that ended while a frame of theirs was being decoded."""
        self._freed = False
        """Whether much memory was freed since it was last given back."""
        self._began: dict[str, float] = {}
        """When each thread that is at a job began it, by the thread's name."""
        self._wake = threading.Condition()
        self._idle = 0
        self._stopping = False
        self._threads = [
            threading.Thread(target=self._run, name=f"pipeline-{number}", daemon=True)
            for number in range(threads)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self, *, seconds: float | None = None) -> bool:
        """End the threads after what they are doing now; frames that wait are forgotten.

        Returns whether all have ended, after `seconds` at the latest: one that has not is left
        behind and ends with the process.
        """
        until = None if seconds is None else time.monotonic() + seconds
        with self._wake:
            self._stopping = True
            self._wake.notify_all()
        for thread in self._threads:
            thread.join(None if until is None else max(0.0, until - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    @property
    def frames_waiting(self) -> int:
        return self._scheduler.frames_waiting

    def stuck(self, *, seconds: float) -> str | None:
        """Which thread has been at one job for longer than that, and for how long."""
        now = time.monotonic()
        for name, began in list(self._began.items()):
            if now - began > seconds:
                return f"{name} has been at one job for {now - began:.0f} s"
        return None

    def submit(self, work: Work) -> Sequence[Work]:
        """Take a frame. Returns frames that it made obsolete, with their outcome."""
        with self._wake:
            dropped = self._scheduler.submit(work)
            if self._idle:
                self._wake.notify()
        return dropped

    def cancel(self, session: Session) -> Sequence[Work]:
        """Forget the waiting frames of a stream that has ended, and return them."""
        with self._wake:
            cancelled = self._scheduler.cancel(session)
            if self._scheduler.decoding(session):
                self._ended.add(session)
            else:
                self._release(session)
        return cancelled

    def _release(self, session: Session) -> None:
        """The stream has ended: free what it holds now, not when cycles are collected."""
        if session.gate is not None:
            session.gate.forget()
        if session.video is not None:
            session.video.close()
            session.video = None
            self._freed = True
            if self._idle:
                self._wake.notify()

    def _run(self) -> None:
        settled: Sequence[Work] = ()
        name = threading.current_thread().name
        while True:
            if settled:
                # Answers leave before the next job begins.
                self._settled(settled)
            # A thread that waits holds no frame.
            settled = ()
            with self._wake:
                job = self._next()
            if job is None:
                return
            self._began[name] = time.monotonic()
            wanted = self._work_on(job)
            with self._wake:
                settled = self._note(job, wanted)
            del self._began[name], job

    def _note(self, job: Job, wanted: int) -> Sequence[Work]:
        """The job is done, or wants memory. Returns the frames that have their outcome now."""
        match job:
            case Decode(work):
                return self._note_decoded(work, wanted)
            case Infer():
                return self._scheduler.inferred(job)
            case Finish(work):
                return (work,)

    def _note_decoded(self, work: Work, wanted: int) -> Sequence[Work]:
        session = work.session
        ended = session in self._ended
        if wanted and not ended:
            self._scheduler.postpone(work, memory=wanted)
            return ()
        if wanted:
            work.outcome = FrameError(FrameErrorCode.UNDECODABLE, "The stream has ended.")
        if work.memory:
            self._freed = True
        settled = self._scheduler.decoded(work)
        if ended:
            self._ended.discard(session)
            self._release(session)
        return settled

    def _next(self) -> Job | None:
        """Wait for a job; None when the pipeline stops. Called with the lock held."""
        while not self._stopping:
            job, deadline = self._scheduler.next(now_us())
            if job is not None:
                if self._idle and self._scheduler.runnable:
                    self._wake.notify()
                return job
            if self._freed:
                self._freed = False
                self._wake.release()
                try:
                    return_freed_memory()
                finally:
                    self._wake.acquire()
                continue
            self._idle += 1
            timeout = None if deadline is None else max(0, deadline - now_us()) / 1e6
            self._wake.wait(timeout)
            self._idle -= 1
        return None

    def _work_on(self, job: Job) -> int:
        """Returns the bytes that a frame wants before it can be decoded, 0 if the job is done."""
        match job:
            case Decode(work):
                try:
                    _guarded(self._decode, work)
                except MemoryNeededError as error:
                    return error.needed
            case Infer():
                self._infer(job)
            case Finish(work):
                _guarded(_finish, work)
        return 0

    def _decode(self, work: Work) -> None:
        began = now_us()
        session = work.session
        if work.key is None:
            work.key = session.next_is_key(work)
        key = work.key
        if key or session.video is not None:
            image = self._image(work)
            work.height, work.width = image.shape[:2]
            session.size = (work.width, work.height)
            if not key:
                work.outcome = Predicted()
            elif session.gate is not None and session.gate.unchanged(image):
                work.outcome = Unchanged()
            else:
                work.prepared = work.served.detector.prepare(image)
        else:
            work.width, work.height = session.size
            work.outcome = Predicted()
        work.ready_at = now_us()
        work.decode = work.ready_at - began

    def _image(self, work: Work) -> NDArray[np.uint8]:
        """Raises FrameError, and MemoryNeededError for a frame that has to wait for memory."""
        try:
            return decode_frame(
                work.frame,
                session=work.session,
                pixels=self._frame_pixels,
                memory=work.memory or LIGHT_BYTES,
                videos=self._videos,
            )
        except MemoryNeededError as error:
            if error.needed <= self._memory:
                raise
            raise FrameError(
                FrameErrorCode.TOO_MANY_PIXELS,
                f"Decoding the picture takes about {error.needed:,} bytes of memory where "
                f"{self._memory:,} are allowed; send it smaller.",
            ) from None

    def _infer(self, job: Infer) -> None:
        began = now_us()
        served = job.served
        try:
            detector = served.abreast if job.abreast else None
            raw = (detector or served.detector).infer([work.prepared for work in job.batch])
        except Exception as error:
            self._infer_singly(job, error)
            return
        took = now_us() - began
        for work, one in zip(job.batch, raw, strict=True):
            work.raw = one
            work.inference = took
            work.batch = len(job.batch)
        # Side by side each has its share of the processors: two of two for a second are one second.
        occupied = took // served.streams if job.abreast else took
        self._observer.batch_inferred(
            model=served.offer.name, frames=len(job.batch), microseconds=occupied
        )

    def _infer_singly(self, job: Infer, error: Exception) -> None:
        """The batch failed: find the frames that made it fail, so that the others get answers."""
        if len(job.batch) == 1:
            _fail(job.batch[0], error)
            return
        for work in job.batch:
            self._infer(Infer(job.served, (work,), abreast=job.abreast))


def _finish(work: Work) -> None:
    began = now_us()
    session = work.session
    found = work.served.detector.finish(
        work.raw, work.prepared, confidence=session.confidence, iou=session.options.iou
    )
    work.outcome = Found(tuple(Detection(d.class_id, d.confidence, d.box) for d in found))
    work.prepared = work.raw = None
    work.post = now_us() - began


def _guarded(step: Callable[[Work], None], work: Work) -> None:
    """One bad frame must not end a thread that others depend on."""
    try:
        step(work)
    except MemoryNeededError:
        raise
    except FrameError as error:
        # Without its traceback, whose frames hold this one and with it the picture.
        work.outcome = FrameError(error.code, error.reason)
    except Exception as error:
        _fail(work, error)


def _fail(work: Work, error: Exception) -> None:
    log.warning(
        "a frame failed", extra={"frame": work.frame.sequence, "error": repr(error)}, exc_info=error
    )
    reason = str(error) if isinstance(error, InferenceError) else type(error).__name__
    work.outcome = FrameError(FrameErrorCode.ENGINE_FAILED, f"The engine failed: {reason}")
    work.prepared = work.raw = None
