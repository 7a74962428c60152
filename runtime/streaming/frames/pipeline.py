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

from runtime.inference.errors import InferenceError
from runtime.inference.pictures import Picture
from runtime.protocol.clock import now_us
from runtime.protocol.errors import FrameError, FrameErrorCode
from runtime.protocol.limits import LIGHT_BYTES, Limits
from runtime.protocol.messages import Detection, Encoding
from runtime.streaming.errors import MemoryNeededError
from runtime.streaming.frames.frame import Found, FrameJob, Predicted, Unchanged
from runtime.streaming.frames.scheduler import Decode, Finish, Infer, Scheduler, Step
from runtime.streaming.frames.stream import StreamDecoder
from runtime.streaming.memory import MemoryBudget, return_freed_memory

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
        max_delay_seconds: float = 0.0,
        limits: Limits | None = None,
    ) -> None:
        limits = limits or Limits()
        self._done = done
        self._observer = observer
        self._frame_pixels = frame_pixels
        self._scheduler = Scheduler(
            max_delay=round(max_delay_seconds * 1e6),
            memory=limits.decoding_bytes,
            slow=max(1, threads - 1),
        )
        self._memory = limits.decoding_bytes
        self._videos = MemoryBudget(limits.video_bytes)
        self._ended: set[StreamDecoder] = set()
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

    def submit(self, job: FrameJob) -> Sequence[FrameJob]:
        """Take a frame. Returns frames that it made obsolete, with their outcome."""
        with self._wake:
            dropped = self._scheduler.submit(job)
            if self._idle:
                self._wake.notify()
        return dropped

    def cancel(self, stream: StreamDecoder) -> Sequence[FrameJob]:
        """Forget the waiting frames of a stream that has ended, and return them."""
        with self._wake:
            cancelled = self._scheduler.cancel(stream)
            if self._scheduler.decoding(stream):
                self._ended.add(stream)
            else:
                self._release(stream)
        return cancelled

    def _release(self, stream: StreamDecoder) -> None:
        """The stream has ended and none of its frames is being decoded. With the lock held."""
        if stream.close():
            self._freed = True
            if self._idle:
                self._wake.notify()

    def _run(self) -> None:
        done: Sequence[FrameJob] = ()
        name = threading.current_thread().name
        while True:
            if done:
                # Answers leave before the next job begins.
                self._done(done)
            # A thread that waits holds no frame.
            done = ()
            with self._wake:
                step = self._next()
            if step is None:
                return
            self._began[name] = time.monotonic()
            wanted = self._do(step)
            with self._wake:
                done = self._note(step, wanted)
            del self._began[name], step

    def _note(self, step: Step, wanted: int) -> Sequence[FrameJob]:
        """The job is done, or wants memory. Returns the frames that have their outcome now."""
        match step:
            case Decode(job):
                return self._note_decoded(job, wanted)
            case Infer():
                return self._scheduler.inferred(step)
            case Finish(job):
                return (job,)

    def _note_decoded(self, job: FrameJob, wanted: int) -> Sequence[FrameJob]:
        stream = job.stream
        ended = stream in self._ended
        if wanted and not ended:
            self._scheduler.postpone(job, memory=wanted)
            return ()
        if wanted:
            job.outcome = FrameError(FrameErrorCode.UNDECODABLE, "The stream has ended.")
        if job.memory:
            self._freed = True
        done = self._scheduler.decoded(job)
        if ended and not self._scheduler.decoding(stream):
            self._ended.discard(stream)
            self._release(stream)
        return done

    def _next(self) -> Step | None:
        """Wait for a job; None when the pipeline stops. Called with the lock held."""
        while not self._stopping:
            step, deadline = self._scheduler.next(now_us())
            if step is not None:
                if self._idle and self._scheduler.runnable:
                    self._wake.notify()
                return step
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

    def _do(self, step: Step) -> int:
        """Returns the bytes that a frame wants before it can be decoded, 0 if the job is done."""
        match step:
            case Decode(job):
                began = time.thread_time_ns()
                try:
                    _guarded(self._decode, job)
                except MemoryNeededError as error:
                    return error.needed
                finally:
                    job.work = (time.thread_time_ns() - began) // 1000
            case Infer():
                self._infer(step)
            case Finish(job):
                _guarded(_finish, job)
        return 0

    def _decode(self, job: FrameJob) -> None:
        began = now_us()
        stream = job.stream
        if job.key is None:
            job.key = stream.next_is_key(job.model)
        key = job.key
        # A unit of a video is decoded in any case: those after it are made of it.
        if key or job.frame.encoding is Encoding.H264:
            picture = self._picture(job)
            job.width, job.height = picture.width, picture.height
            if not key:
                job.outcome = Predicted()
            elif stream.unchanged(picture.pixels):
                job.outcome = Unchanged()
            else:
                job.prepared = job.model.detector.prepare(picture)
        else:
            job.width, job.height = stream.size
            job.outcome = Predicted()
        job.ready_at = now_us()
        job.decode = job.ready_at - began

    def _picture(self, job: FrameJob) -> Picture:
        """Raises FrameError, and MemoryNeededError for a frame that has to wait for memory."""
        try:
            return job.stream.picture(
                job.frame,
                pixels=self._frame_pixels,
                memory=job.memory or LIGHT_BYTES,
                videos=self._videos,
                reduction=job.model.detector.reduction,
            )
        except MemoryNeededError as error:
            if error.needed <= self._memory:
                raise
            raise FrameError(
                FrameErrorCode.TOO_MANY_PIXELS,
                f"Decoding the picture takes about {error.needed:,} bytes of memory where "
                f"{self._memory:,} are allowed; send it smaller.",
            ) from None

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
    stream = job.stream
    found = job.model.detector.finish(
        job.raw, job.prepared, confidence=stream.confidence, iou=stream.iou
    )
    job.outcome = Found(tuple(Detection(d.class_id, d.confidence, d.box) for d in found))
    job.prepared = job.raw = None
    job.post = now_us() - began


def _guarded(step: Callable[[FrameJob], None], job: FrameJob) -> None:
    """One bad frame must not end a thread that others depend on."""
    try:
        step(job)
    except MemoryNeededError:
        raise
    except FrameError as error:
        # Without its traceback, whose frames hold this one and with it the picture.
        job.outcome = FrameError(error.code, error.reason)
    except Exception as error:
        _fail(job, error)


def _fail(job: FrameJob, error: Exception) -> None:
    log.warning(
        "a frame failed", extra={"frame": job.frame.sequence, "error": repr(error)}, exc_info=error
    )
    reason = str(error) if isinstance(error, InferenceError) else type(error).__name__
    job.outcome = FrameError(FrameErrorCode.ENGINE_FAILED, f"The engine failed: {reason}")
    job.prepared = job.raw = None
