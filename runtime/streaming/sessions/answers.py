"""One stream's promises: which frames are waited for, in which order answers go, what is dropped.

A session outlives its connection when its policy is lossless: answers are kept until the client
must have received them. That is known without acknowledgements: a client with a window of `w` sends
frame `s` only after it has the answers to all frames before `s - w + 1`, so the last `w` answers
are enough to replay.
"""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from runtime.protocol.clock import now_us
from runtime.protocol.errors import CloseCode, DropReason, FrameError, FrameErrorCode, ProtocolError
from runtime.protocol.messages import (
    NO_FLAGS,
    Detection,
    Dropped,
    Encoding,
    Frame,
    FrameFailed,
    Policy,
    Result,
    ResultFlag,
    Timing,
)
from runtime.protocol.options import HelloOptions
from runtime.streaming.frames.frame import Found, FrameJob, Predicted, Unchanged

if TYPE_CHECKING:
    from runtime.streaming.models import ModelHost


class Gate(Protocol):
    """`runtime.inference.changes.ChangeGate`."""

    def unchanged(self, frame: NDArray[np.uint8]) -> bool: ...
    def forget(self) -> None: ...


class Tracking(Protocol):
    """Detections of one frame after another to detections with track ids."""

    @property
    def lowest(self) -> float:
        """Confidence down to which it wants detections."""
        ...

    def update(self, detections: Sequence[Detection]) -> tuple[Detection, ...]: ...
    def predict(self) -> tuple[Detection, ...]: ...


class VideoStream(Protocol):
    """Access units to pictures, uint8 (height, width, 3), blue first."""

    def decode(self, unit: bytes, *, memory: int) -> NDArray[np.uint8]: ...
    def close(self) -> None: ...


_LONGEST = 2**32 - 1
"""A duration is 32 bits of microseconds: 71 minutes."""
Outlet = Callable[[bytes, int], None]
"""Takes the bytes of an answer and how many frames it answers."""


class Session:
    """A stream, with or without a connection. Lives on the event loop's thread."""

    def __init__(
        self,
        *,
        options: HelloOptions,
        host: ModelHost,
        window: int,
        gate: Gate | None = None,
        tracker: Tracking | None = None,
    ) -> None:
        self.id = secrets.token_hex(16)
        self.options = options
        self.host = host
        self.connection = options.connection
        """Number of the last connection, as the client counts them."""
        self.policy = Policy(options.policy)
        self.live = self.policy is Policy.LIVE
        self.gate = gate
        self.video: VideoStream | None = None
        """Made when the first H.264 frame arrives; its state is the stream's."""
        self.size = (0, 0)
        """Width and height of the last decoded picture."""
        self.next_sequence = options.next_sequence
        """Lossless: the only sequence number that may come next. Live: the lowest."""
        self.serial = tracker is not None or gate is not None
        """Frames must be decoded one after another, because each depends on those before."""
        self.newest_wins = self.live
        """A frame that waits to be decoded is dropped for a newer one."""
        self._window = window
        self._pending: deque[FrameJob] = deque()
        self._sent: deque[tuple[int, bytes]] = deque(maxlen=window)
        self._outlet: Outlet | None = None
        self._tracker = tracker
        self._last: Found | FrameError = Found(())
        self._since_key = 0
        self._model = host.current
        """The model's version for the frames being decoded."""
        self.confidence = options.confidence if tracker is None else tracker.lowest
        """What to ask of the detector."""

    @property
    def pending(self) -> int:
        """Frames taken and not answered."""
        return len(self._pending)

    @property
    def attached(self) -> bool:
        return self._outlet is not None

    def take(self, frame: Frame, *, received: int) -> FrameJob:
        """A frame has arrived. Raises ProtocolError when it is not the one awaited."""
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
        if frame.encoding is Encoding.H264:
            # Every access unit has to be decoded: those after it are made of it.
            self.serial = True
            self.newest_wins = False
        job = FrameJob(self, frame, received, self.host.current)
        if frame.encoding is Encoding.UNKNOWN:
            job.outcome = FrameError(
                FrameErrorCode.UNSUPPORTED_ENCODING, "The frame's encoding is none that is known."
            )
        self._pending.append(job)
        return job

    def next_is_key(self, job: FrameJob) -> bool:
        """Called once for each frame as its decoding begins: whether it is to be inferred.

        The first frame for another version of the model is, and the gate starts anew with it.
        """
        if job.model is not self._model:
            self._model = job.model
            self._since_key = 0
            if self.gate is not None:
                self.gate.forget()
        if self._tracker is None:
            return True
        key = self._since_key == 0
        self._since_key = (self._since_key + 1) % self.options.key_interval
        return key

    def complete(self, job: FrameJob) -> None:
        """The frame has its outcome; send all answers whose turn it is."""
        if isinstance(job.outcome, DropReason):
            self._pending.remove(job)
            self._send(job, Dropped((job.frame.sequence,), job.outcome).encode())
        while self._pending and self._pending[0].outcome is not None:
            first = self._pending.popleft()
            self._send(first, self._answer(first))

    def attach(self, outlet: Outlet, *, next_answer: int) -> None:
        """Send answers there from now on, beginning with those the client has not received.

        Raises ProtocolError when they are not kept any more.
        """
        oldest = self._pending[0].frame.sequence if self._pending else self.next_sequence
        oldest = self._sent[0][0] if self._sent else oldest
        if not oldest <= next_answer <= self.next_sequence:
            raise ProtocolError(
                CloseCode.PROTOCOL_ERROR,
                f"answers from frame {next_answer} on cannot be replayed, only from {oldest} on",
            )
        self._outlet = outlet
        for sequence, answer in self._sent:
            if sequence >= next_answer:
                outlet(answer, 1)

    def detach(self) -> None:
        self._outlet = None

    def forget(self) -> None:
        """The stream has ended: its frames, which refer to it, need not wait for a collector."""
        self._pending.clear()
        self._sent.clear()

    def unanswered_from(self, next_answer: int) -> int:
        """Frames the client still waits for, those included whose answers will be replayed."""
        return self.next_sequence - next_answer

    def _send(self, job: FrameJob, answer: bytes) -> None:
        if not self.live:
            self._sent.append((job.frame.sequence, answer))
        if self._outlet is not None:
            self._outlet(answer, 1)

    def _answer(self, job: FrameJob) -> bytes:
        sequence = job.frame.sequence
        flags = NO_FLAGS
        match job.outcome:
            case Found() | FrameError():
                self._last = job.outcome
                if isinstance(job.outcome, FrameError):
                    if self.gate is not None:
                        self.gate.forget()
                elif self._tracker is not None:
                    self._last = Found(self._tracker.update(job.outcome.detections))
            case Unchanged():
                flags |= ResultFlag.UNCHANGED
            case Predicted() if self._tracker is not None and isinstance(self._last, Found):
                flags |= ResultFlag.PREDICTED
                self._last = Found(self._tracker.predict())
        if isinstance(self._last, FrameError):
            return FrameFailed(sequence, self._last.code, self._last.reason).encode()
        if self._tracker is not None:
            flags |= ResultFlag.TRACKED
        return _result(job, self._last.detections, flags=flags)


def _result(job: FrameJob, detections: tuple[Detection, ...], *, flags: ResultFlag) -> bytes:
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
    ).encode()
