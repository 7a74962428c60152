"""What to do next: pure decisions about batching, fairness and dropping, without threads or clocks.

A frame waits to be decoded, is decoded, is ready, is inferred in a batch, is finished. Streams take
turns wherever frames wait, so that a stream with many frames has no more than its share. Engines
come first (they are what is paid for), then finishing (nearly done), then decoding.
"""

from __future__ import annotations

import math
from collections import Counter, OrderedDict, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from runtime.protocol.errors import DropReason
from runtime.streaming.frames.frame import FrameJob

if TYPE_CHECKING:
    from runtime.streaming.frames.stream import StreamDecoder
    from runtime.streaming.models import LoadedModel, ModelHost

_SLOW_WORK: Final = 20_000
"""Microseconds of a processor for one frame, above which a stream is slow: a camera's pictures take
a few milliseconds, some within all limits half a second."""
_SLOW_FOR: Final = 60_000_000
"""Microseconds for which it is then; else one slow frame after a fast one would find a thread."""


@dataclass(frozen=True, slots=True)
class Decode:
    job: FrameJob


@dataclass(frozen=True, slots=True)
class Infer:
    model: LoadedModel
    batch: tuple[FrameJob, ...]
    parallel: bool = False
    """On the detector for calls side by side."""


@dataclass(frozen=True, slots=True)
class Finish:
    job: FrameJob


Step = Decode | Infer | Finish


class _Turns:
    """Frames by stream; streams take turns."""

    def __init__(self) -> None:
        self._queues: OrderedDict[StreamDecoder, deque[FrameJob]] = OrderedDict()
        self.count = 0

    def push_first(self, job: FrameJob) -> None:
        """Before the stream's other frames."""
        self._queues.setdefault(job.stream, deque()).appendleft(job)
        self.count += 1

    def push(self, job: FrameJob) -> None:
        self._queues.setdefault(job.stream, deque()).append(job)
        self.count += 1

    def put_newest(self, job: FrameJob) -> list[FrameJob]:
        """In the place and the turn of the stream's other frames, which are taken out."""
        queue = self._queues.setdefault(job.stream, deque())
        replaced = list(queue)
        queue.clear()
        queue.append(job)
        self.count += 1 - len(replaced)
        return replaced

    def __contains__(self, stream: StreamDecoder) -> bool:
        return stream in self._queues

    def first(self, stream: StreamDecoder) -> FrameJob:
        return self._queues[stream][0]

    def drop(self, stream: StreamDecoder) -> list[FrameJob]:
        """Take all frames of a stream out."""
        dropped = list(self._queues.pop(stream, ()))
        self.count -= len(dropped)
        return dropped

    def streams(self) -> list[StreamDecoder]:
        """In the order of their turns."""
        return list(self._queues)

    def pop(self, stream: StreamDecoder) -> FrameJob:
        queue = self._queues[stream]
        job = queue.popleft()
        self.count -= 1
        if queue:
            self._queues.move_to_end(stream)
        else:
            del self._queues[stream]
        return job

    def oldest_ready(self) -> int:
        return min(queue[0].ready_at for queue in self._queues.values())


class _Lane:
    """Frames of one model between decoding and finishing."""

    def __init__(self) -> None:
        self.ready = _Turns()
        self.coming = 0
        """Frames being decoded for this model."""
        self.whole = False
        """An inference that has the processors to itself is under way."""
        self.parallel = 0
        """Inferences side by side under way."""


class Scheduler:
    """Not thread-safe: `pipeline` holds a lock around it.

    `max_delay` (microseconds): a batch that is not full waits this long for frames that are being
    decoded already. `memory` (bytes): frames that take much to be decoded share it. `slow`: so many
    frames of streams that are slow to decode are decoded at once, so that others find a thread.
    """

    def __init__(self, *, max_delay: int = 0, memory: int = 2**63, slow: int = 2**63) -> None:
        self._memory = memory
        self._memory_free = memory
        self._slow_free = slow
        self._slow: dict[FrameJob, int] = {}
        """Those being decoded of streams that were slow when that began, and from when on they are
        not counted with what the engine will soon have: of a stream's first frame that is not known
        until it has taken long."""
        self._now = 0
        self._max_delay = max_delay
        self._waiting = _Turns()
        self._decoding: Counter[StreamDecoder] = Counter()
        """How many frames of each stream are being decoded; no entry where none is."""
        self._lanes: dict[ModelHost, _Lane] = {}
        self._finishing: deque[FrameJob] = deque()

    @property
    def frames_waiting(self) -> int:
        """Frames that nobody works on."""
        return self._waiting.count + sum(lane.ready.count for lane in self._lanes.values())

    @property
    def runnable(self) -> bool:
        """Whether another thread might find something to do."""
        return bool(
            self._finishing
            or self._waiting.count
            or any(lane.ready.count and not lane.whole for lane in self._lanes.values())
        )

    def submit(self, job: FrameJob) -> list[FrameJob]:
        """A frame has arrived. Returns the frames of a live stream that it makes obsolete."""
        job.stream.expect(job.frame.encoding)
        if not job.stream.newest_wins:
            self._waiting.push(job)
            return []
        dropped = self._waiting.put_newest(job)
        for old in dropped:
            old.outcome = DropReason.NEWER_FRAME
        return dropped

    def decoded(self, job: FrameJob) -> list[FrameJob]:
        """Decoding ended. Returns the frame if it has its outcome (an error, nothing changed)."""
        lane = self._lane(job.stream.host)
        lane.coming -= 1
        self._leave_decoding(job)
        if job.work > _SLOW_WORK:
            job.stream.slow_until = self._now + _SLOW_FOR
        elif job.stream.slow_until == math.inf:
            job.stream.slow_until = 0
        self._memory_free += min(job.memory, self._memory)
        if job.outcome is not None:
            return [job]
        lane.ready.push(job)
        return []

    def postpone(self, job: FrameJob, *, memory: int) -> None:
        """Decoding the frame would take so many bytes: it waits until they are free."""
        self._lane(job.stream.host).coming -= 1
        self._leave_decoding(job)
        job.memory = memory
        self._waiting.push_first(job)

    def decoding(self, stream: StreamDecoder) -> bool:
        """Whether a frame of the stream is being decoded."""
        return stream in self._decoding

    def inferred(self, step: Infer) -> list[FrameJob]:
        """The engine is done with the batch. Returns the frames that failed."""
        lane = self._lane(step.batch[0].stream.host)
        if step.parallel:
            lane.parallel -= 1
        else:
            lane.whole = False
        failed = [job for job in step.batch if job.outcome is not None]
        self._finishing.extend(job for job in step.batch if job.outcome is None)
        return failed

    def cancel(self, stream: StreamDecoder) -> list[FrameJob]:
        """The stream has ended: forget its frames that wait, and return them."""
        lanes = [lane.ready for lane in self._lanes.values()]
        return [job for turns in (self._waiting, *lanes) for job in turns.drop(stream)]

    def next(self, now: int) -> tuple[Step | None, int | None]:
        """A job, or None and the time at which to ask again (None: when something happens)."""
        self._now = now
        deadline: int | None = None
        for lane in self._lanes.values():
            if lane.whole or not lane.ready.count:
                continue
            batch, due = self._batch(lane, now)
            if batch is not None:
                return batch, None
            if due is not None:
                deadline = due if deadline is None else min(deadline, due)
        if self._finishing:
            return Finish(self._finishing.popleft()), None
        decode, due = self._decode()
        if due is not None:
            deadline = due if deadline is None else min(deadline, due)
        return decode, deadline

    def _batch(self, lane: _Lane, now: int) -> tuple[Infer | None, int | None]:
        model = lane.ready.first(lane.ready.streams()[0]).model
        if model.parallel is not None and self._enough(lane, model.streams):
            if lane.parallel >= model.streams:
                return None, None
            lane.parallel += 1
            job = lane.ready.pop(lane.ready.streams()[0])
            return Infer(model, (job,), parallel=True), None
        if lane.parallel:
            return None, None
        due = lane.ready.oldest_ready() + self._max_delay
        if lane.ready.count < model.max_batch and lane.coming and now < due:
            return None, due
        batch: list[FrameJob] = []
        while len(batch) < model.max_batch:
            # A newer version of the model starts a batch of its own.
            turns = lane.ready.streams()
            turn = next((s for s in turns if lane.ready.first(s).model is model), None)
            if turn is None:
                break
            batch.append(lane.ready.pop(turn))
        lane.whole = True
        return Infer(model, tuple(batch)), None

    def _enough(self, lane: _Lane, streams: int) -> bool:
        """Whether so many frames are about that no processor would be left without one."""
        about = lane.ready.count + lane.coming + self._waiting.count
        return lane.parallel > 0 or about >= streams

    def _decode(self) -> tuple[Decode | None, int | None]:
        memory = self._memory_free
        due: int | None = None
        for stream in self._waiting.streams():
            wanted = min(self._waiting.first(stream).memory, self._memory)
            if wanted > memory:
                # Nor any that needs less: a large one would wait for ever.
                memory = 0
                continue
            if stream.serial and stream in self._decoding:
                continue
            slow = stream.slow_until > self._now
            if slow and not self._slow_free:
                continue
            host = stream.host
            lane = self._lane(host)
            # Decoded pictures are large: no more of them than the engine will soon take. Slow ones
            # will not be there soon.
            model = host.current
            soon = lane.ready.count + lane.coming
            if not slow:
                begun = [late for job, late in self._slow.items() if job.stream.host is host]
                soon -= sum(late <= self._now for late in begun)
                due = min((late for late in begun if late > self._now), default=due)
            if soon >= 2 * max(model.max_batch, model.streams):
                continue
            # One frame ahead is enough for a live stream: a later one will be newer.
            if stream.newest_wins and (stream in self._decoding or stream in lane.ready):
                continue
            job = self._waiting.pop(stream)
            self._memory_free -= wanted
            if slow:
                self._slow_free -= 1
                known = stream.slow_until < math.inf
                self._slow[job] = self._now + (0 if known else _SLOW_WORK)
            lane.coming += 1
            self._decoding[stream] += 1
            return Decode(job), None
        return None, due

    def _leave_decoding(self, job: FrameJob) -> None:
        stream = job.stream
        if job in self._slow:
            del self._slow[job]
            self._slow_free += 1
        self._decoding[stream] -= 1
        if not self._decoding[stream]:
            del self._decoding[stream]

    def _lane(self, host: ModelHost) -> _Lane:
        return self._lanes.setdefault(host, _Lane())
