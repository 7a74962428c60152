"""One stream's promises: which frames are waited for, in which order answers go, what is dropped.

What decoding remembers of a stream is `runtime.streaming.frames.stream.StreamDecoder`'s.

A session outlives its connection when its policy is lossless: answers are kept until the client
must have received them. That is known without acknowledgements: a client with a window of `w` sends
frame `s` only after it has the answers to all frames before `s - w + 1`, so the last `w` answers
are enough to replay.
"""

from __future__ import annotations

import re
import secrets
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from runtime.protocol.clock import now_us
from runtime.protocol.errors import CloseCode, DropReason, FrameError, FrameErrorCode, ProtocolError
from runtime.protocol.messages import (
    NO_FLAGS,
    Detection,
    Dropped,
    Encoding,
    Frame,
    FrameFailed,
    Model,
    Result,
    ResultFlag,
    Timing,
)
from runtime.protocol.options import HelloOptions
from runtime.streaming.frames.frame import Found, FrameJob, Predicted, Unchanged
from runtime.streaming.frames.stream import Gate, StreamDecoder
from runtime.streaming.models import LoadedModel, ModelHost


class Tracking(Protocol):
    """Detections of one frame after another to detections with track ids."""

    @property
    def lowest(self) -> float:
        """Confidence down to which it wants detections."""
        ...

    def update(self, detections: Sequence[Detection]) -> tuple[Detection, ...]: ...
    def predict(self) -> tuple[Detection, ...]: ...


_NUMBER: Final = re.compile("[0-9a-f]{8}")
_LONGEST = 2**32 - 1
"""A duration is 32 bits of microseconds: 71 minutes."""
Answer = Result | FrameFailed | Dropped
Outlet = Callable[[Answer | Model], None]


class Session:
    """A stream's promises, with or without a connection.

    All of it belongs to the thread that made it, the event loop's: a method called from another is
    a RuntimeError. Nothing here looks at a job that the pipeline has, nor at the state in `stream`;
    of that it calls `forget_reference`, which may be called from anywhere.
    """

    def __init__(
        self,
        *,
        options: HelloOptions,
        host: ModelHost,
        window: int,
        gate: Gate | None = None,
        tracker: Tracking | None = None,
    ) -> None:
        known = _NUMBER.match(options.session)
        self.number = known[0] if known else secrets.token_hex(4)
        """By it the stream is in a canary's share or not. Its id begins with it: a client that
        connects again, to whichever server, says the id it had, and the stream keeps its number."""
        self.id = self.number + secrets.token_hex(16)
        self.options = options
        self.connection = options.connection
        """Number of the last connection, as the client counts them."""
        self.live = options.policy == "live"
        self.stream = StreamDecoder(
            host,
            confidence=options.confidence if tracker is None else tracker.lowest,
            iou=options.iou,
            newest_wins=self.live,
            gate=gate,
            key_interval=None if tracker is None else options.key_interval,
        )
        """What the pipeline knows of the stream."""
        self.next_sequence = options.next_sequence
        """Lossless: the only sequence number that may come next. Live: the lowest."""
        self._thread = threading.get_ident()
        self._pending: deque[FrameJob] = deque()
        self._completed: set[FrameJob] = set()
        """Those of them that were handed over; a thread may still be writing to the others."""
        self._sent: deque[tuple[int, Model, Answer]] = deque(maxlen=window)
        """By sequence. Not the jobs: a model would be kept in memory once it is replaced."""
        self._outlet: Outlet | None = None
        self._told: int | None = None
        """Revision whose model the client was told of last."""
        self._tracker = tracker
        self._last: Found | FrameError = Found(())

    @property
    def host(self) -> ModelHost:
        return self.stream.host

    @property
    def model(self) -> LoadedModel:
        """What answers the frames that arrive now."""
        return self.host.model_for(self.number)

    @property
    def pending(self) -> int:
        """Frames taken and not answered."""
        return len(self._pending)

    def take(self, frame: Frame, *, received: int) -> FrameJob:
        """A frame has arrived. Raises ProtocolError when it is not the one awaited."""
        self._check_thread()
        if self.live:
            if frame.sequence < self.next_sequence:
                raise ProtocolError(
                    CloseCode.PROTOCOL_ERROR,
                    f"frame {frame.sequence} after frame {self.next_sequence - 1}",
                )
        elif frame.sequence != self.next_sequence:
            raise ProtocolError(
                CloseCode.PROTOCOL_ERROR,
                f"frame {frame.sequence} where frame {self.next_sequence} comes next",
            )
        self.next_sequence = frame.sequence + 1
        job = FrameJob(self.stream, frame, received, self.model)
        if frame.encoding is Encoding.UNKNOWN:
            job.outcome = FrameError(
                FrameErrorCode.UNSUPPORTED_ENCODING, "The frame's encoding is none that is known."
            )
        self._pending.append(job)
        return job

    def complete(self, job: FrameJob) -> None:
        """The pipeline is done with the frame, which has its outcome; send all answers whose turn
        it is."""
        self._check_thread()
        if isinstance(job.outcome, DropReason):
            self._pending.remove(job)
            self._send(job, Dropped((job.frame.sequence,), job.outcome))
        else:
            self._completed.add(job)
        while self._pending and self._pending[0] in self._completed:
            first = self._pending.popleft()
            self._completed.remove(first)
            self._send(first, self._answer(first))

    def attach(self, outlet: Outlet, *, next_answer: int) -> None:
        """Send answers there from now on, beginning with those the client has not received.

        The client was welcomed with the model that is current now. Raises ProtocolError when the
        answers are not kept any more.
        """
        self._check_thread()
        oldest = self._pending[0].frame.sequence if self._pending else self.next_sequence
        oldest = self._sent[0][0] if self._sent else oldest
        if not oldest <= next_answer <= self.next_sequence:
            raise ProtocolError(
                CloseCode.PROTOCOL_ERROR,
                f"answers from frame {next_answer} on cannot be replayed, only from {oldest} on",
            )
        self._outlet = outlet
        self._told = self.model.revision
        for sequence, model, answer in self._sent:
            if sequence >= next_answer:
                self._hand_out(model, answer)

    def detach(self) -> None:
        self._check_thread()
        self._outlet = None

    def forget(self) -> None:
        """The stream has ended: let its frames and answers go."""
        self._check_thread()
        self._pending.clear()
        self._completed.clear()
        self._sent.clear()

    def _check_thread(self) -> None:
        if threading.get_ident() != self._thread:
            raise RuntimeError(
                f"Session {self.id[:8]} belongs to the event loop's thread; hand the call to the "
                "loop with `call_soon_threadsafe`."
            )

    def _send(self, job: FrameJob, answer: Answer) -> None:
        model = Model(job.model.revision, job.model.offer)
        if not self.live:
            self._sent.append((job.frame.sequence, model, answer))
        self._hand_out(model, answer)

    def _hand_out(self, model: Model, answer: Answer) -> None:
        if self._outlet is None:
            return
        if self.options.model_changes and model.revision != self._told:
            self._told = model.revision
            self._outlet(model)
        self._outlet(answer)

    def _answer(self, job: FrameJob) -> Answer:
        sequence = job.frame.sequence
        flags = NO_FLAGS
        match job.outcome:
            case Found() | FrameError():
                self._last = job.outcome
                if isinstance(job.outcome, FrameError):
                    self.stream.forget_reference()
                elif self._tracker is not None:
                    self._last = Found(self._tracker.update(job.outcome.detections))
            case Unchanged():
                flags |= ResultFlag.UNCHANGED
            case Predicted() if self._tracker is not None and isinstance(self._last, Found):
                flags |= ResultFlag.PREDICTED
                self._last = Found(self._tracker.predict())
        if isinstance(self._last, FrameError):
            return FrameFailed(sequence, self._last.code, self._last.reason)
        if self._tracker is not None:
            flags |= ResultFlag.TRACKED
        return _result(job, self._last.detections, flags=flags)


def _result(job: FrameJob, detections: tuple[Detection, ...], *, flags: ResultFlag) -> Result:
    sent = now_us()
    worked = job.decode + job.inference + job.post
    timing = Timing(
        received=job.received,
        sent=sent,
        decode=job.decode,
        queue=min(max(0, sent - job.received - worked), _LONGEST),
        inference=job.inference,
        post=job.post,
        batch=job.batch,
    )
    return Result(
        job.frame.sequence,
        job.width,
        job.height,
        timing,
        detections,
        flags,
        job.model.revision,
    )
