"""Threads that decode, infer and finish frames, whichever the scheduler says is next.

All threads are alike: one that has decoded a frame goes on to infer it itself when the engine is
free, so that a single frame in flight crosses threads only twice (in from the event loop and back),
while with several frames one thread keeps the engine busy and the others decode and finish.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Protocol

from runtime.inference.errors import InferenceError
from runtime.protocol.clock import now_us
from runtime.protocol.errors import FrameError, FrameErrorCode
from runtime.protocol.messages import Detection
from runtime.streaming.frames.decoding import decode_frame
from runtime.streaming.frames.frame import Found, FrameJob, Predicted, Unchanged
from runtime.streaming.frames.scheduler import Decode, Finish, Infer, Scheduler, Step
from runtime.streaming.sessions.answers import Session

log = logging.getLogger(__name__)


class Observer(Protocol):
    """Is told what the engines did; called from the pipeline's threads.

    `microseconds` is the time for which the whole engine was occupied.
    """

    def batch_inferred(self, *, model: str, frames: int, microseconds: int) -> None: ...


class Pipeline:
    """`done` is called with finished frames, from any of the threads."""

    def __init__(
        self,
        *,
        done: Callable[[Sequence[FrameJob]], None],
        observer: Observer,
        frame_pixels: int,
        threads: int,
        max_delay_us: int = 0,
    ) -> None:
        self._done = done
        self._observer = observer
        self._frame_pixels = frame_pixels
        self._scheduler = Scheduler(max_delay=max_delay_us)
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

    def stop(self) -> None:
        """End the threads after what they are doing now; frames that wait are forgotten."""
        with self._wake:
            self._stopping = True
            self._wake.notify_all()
        for thread in self._threads:
            thread.join()

    @property
    def frames_waiting(self) -> int:
        return self._scheduler.frames_waiting

    def submit(self, job: FrameJob) -> Sequence[FrameJob]:
        """Take a frame. Returns frames that it made obsolete, with their outcome."""
        with self._wake:
            dropped = self._scheduler.submit(job)
            if self._idle:
                self._wake.notify()
        return dropped

    def cancel(self, session: Session) -> Sequence[FrameJob]:
        """Forget the waiting frames of a stream that has ended, and return them."""
        with self._wake:
            return self._scheduler.cancel(session)

    def _run(self) -> None:
        done: Sequence[FrameJob] = ()
        while True:
            if done:
                # Answers leave before the next job begins.
                self._done(done)
            with self._wake:
                step = self._next()
            if step is None:
                return
            self._do(step)
            with self._wake:
                done = self._note(step)

    def _note(self, step: Step) -> Sequence[FrameJob]:
        """The job is done. Returns the frames that have their outcome now."""
        match step:
            case Decode(job):
                return self._scheduler.decoded(job)
            case Infer():
                return self._scheduler.inferred(step)
            case Finish(job):
                return (job,)

    def _next(self) -> Step | None:
        """Wait for a job; None when the pipeline stops. Called with the lock held."""
        while not self._stopping:
            step, deadline = self._scheduler.next(now_us())
            if step is not None:
                if self._idle and self._scheduler.runnable:
                    self._wake.notify()
                return step
            self._idle += 1
            timeout = None if deadline is None else max(0, deadline - now_us()) / 1e6
            self._wake.wait(timeout)
            self._idle -= 1
        return None

    def _do(self, step: Step) -> None:
        match step:
            case Decode(job):
                _guarded(self._decode, job)
            case Infer():
                self._infer(step)
            case Finish(job):
                _guarded(_finish, job)

    def _decode(self, job: FrameJob) -> None:
        began = now_us()
        session = job.session
        key = session.next_is_key(job)
        if key or session.video is not None:
            image = decode_frame(job.frame, session=session, pixels=self._frame_pixels)
            job.height, job.width = image.shape[:2]
            session.size = (job.width, job.height)
            if not key:
                job.outcome = Predicted()
            elif session.gate is not None and session.gate.unchanged(image):
                job.outcome = Unchanged()
            else:
                job.prepared = job.model.detector.prepare(image)
        else:
            job.width, job.height = session.size
            job.outcome = Predicted()
        job.ready_at = now_us()
        job.decode = job.ready_at - began

    def _infer(self, step: Infer) -> None:
        began = now_us()
        model = step.model
        try:
            detector = model.parallel if step.parallel else None
            raw = (detector or model.detector).infer([job.prepared for job in step.batch])
        except Exception as error:
            self._infer_singly(step, error)
            return
        took = now_us() - began
        for job, one in zip(step.batch, raw, strict=True):
            job.raw = one
            job.inference = took
            job.batch = len(step.batch)
        # Side by side each has its share of the processors: two of two for a second are one second.
        occupied = took // model.streams if step.parallel else took
        self._observer.batch_inferred(
            model=model.offer.name, frames=len(step.batch), microseconds=occupied
        )

    def _infer_singly(self, step: Infer, error: Exception) -> None:
        """The batch failed: find the frames that made it fail, so that the others get answers."""
        if len(step.batch) == 1:
            _fail(step.batch[0], error)
            return
        for job in step.batch:
            self._infer(Infer(step.model, (job,), parallel=step.parallel))


def _finish(job: FrameJob) -> None:
    began = now_us()
    session = job.session
    found = job.model.detector.finish(
        job.raw, job.prepared, confidence=session.confidence, iou=session.options.iou
    )
    job.outcome = Found(tuple(Detection(d.class_id, d.confidence, d.box) for d in found))
    job.prepared = job.raw = None
    job.post = now_us() - began


def _guarded(step: Callable[[FrameJob], None], job: FrameJob) -> None:
    """One bad frame must not end a thread that others depend on."""
    try:
        step(job)
    except FrameError as error:
        job.outcome = error
    except Exception as error:
        _fail(job, error)


def _fail(job: FrameJob, error: Exception) -> None:
    log.warning(
        "a frame failed", extra={"frame": job.frame.sequence, "error": repr(error)}, exc_info=error
    )
    reason = str(error) if isinstance(error, InferenceError) else type(error).__name__
    job.outcome = FrameError(FrameErrorCode.ENGINE_FAILED, f"The engine failed: {reason}")
    job.prepared = job.raw = None
