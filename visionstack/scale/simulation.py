"""Cameras before stream servers, simulated: the servers' own scheduler on a clock that is made up.

`runtime.streaming`'s `Scheduler` says what each thread does next and its `Session` in which order
answers leave, as in a server; only time is made up. A step takes a measured time, drawn anew for
each frame; steps under way share the processors evenly. A camera takes a frame every so often, has
few of them under way and, live, drops what it cannot send for the newer one, as the client does.

A library of discrete events would replace the dozen lines of the clock, not the processors that
steps share, whose ends move with every step that begins.
"""

from __future__ import annotations

import heapq
import itertools
import math
import random
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from runtime.contract import StreamPolicy
from runtime.protocol.messages import Dropped, Encoding, Frame
from runtime.protocol.options import HelloOptions, ModelOffer
from runtime.streaming.frames.frame import Found, FrameJob
from runtime.streaming.frames.scheduler import Decode, Finish, Infer, Scheduler, Step
from runtime.streaming.models import LoadedModel, ModelHost
from runtime.streaming.sessions.answers import Session
from runtime.streaming.settings import MAX_DELAY_SECONDS

LIVE_UNDER_WAY: Final = 3
"""Frames of a live camera on their way at once, `visionstack.stream.session`'s least."""
_SECOND: Final = 1_000_000
_LEAST_WORK: Final = 1e-9


@dataclass(frozen=True, kw_only=True)
class Times:
    """Measured seconds of each step with nothing beside it; one is drawn for each frame."""

    decode: Sequence[float] = (0.0,)
    inference: Mapping[int, Sequence[float]]
    """By the frames of the batch; on all processors."""
    side_by_side: Sequence[float] = (0.0,)
    """An inference on one processor of several."""
    finish: Sequence[float] = (0.0,)
    around: Sequence[float] = (0.0,)
    """Both ways between camera and pipeline; takes none of the server's processors."""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What one server has. `streams` above 1: so many inferences side by side when frames wait."""

    processors: float = 1
    """Below 1: its share of one that others use too."""
    threads: int = 3
    streams: int = 1
    max_batch: int = 1
    max_delay_s: float = MAX_DELAY_SECONDS


@dataclass(frozen=True, kw_only=True)
class Cameras:
    """`moments` are the seconds at which a camera takes its frames, for each camera."""

    moments: Sequence[Sequence[float]]
    policy: StreamPolicy = "live"
    under_way: int = LIVE_UNDER_WAY

    @classmethod
    def evenly(cls, cameras: int, *, fps: float, seconds: float) -> Cameras:
        """Live ones whose phases are spread evenly, as the measured ones' are."""
        phases = [number / cameras / fps for number in range(cameras)]
        return cls._from(phases, fps=fps, seconds=seconds)

    @classmethod
    def at_random(cls, cameras: int, *, fps: float, seconds: float, seed: int) -> Cameras:
        """Live ones with a phase of their own each, at any moment of a period."""
        draw = random.Random(seed)  # noqa: S311 - a simulation's draws guard nothing
        phases = [draw.random() / fps for _ in range(cameras)]
        return cls._from(phases, fps=fps, seconds=seconds)

    @classmethod
    def _from(cls, phases: Sequence[float], *, fps: float, seconds: float) -> Cameras:
        beats = [frame / fps for frame in range(round(seconds * fps))]
        return cls(moments=[[phase + beat for beat in beats] for phase in phases])


@dataclass(kw_only=True)
class Outcome:
    """What the cameras got, by camera, and what the servers did."""

    seconds: float
    """From the first frame that was due to the last answer, or to where the run was ended."""
    answers: list[list[tuple[float, float]]]
    """Seconds of capture and of the result, of the answered frames in the order of the answers."""
    taken: int
    """Frames in all; those that are neither answered nor dropped were under way at the end."""
    dropped_client: int = 0
    dropped_server: int = 0
    engine_busy: list[float] = field(default_factory=list)
    """By server: share of the time in which it inferred, as `EngineBusyShare` publishes it."""
    processors_busy: list[float] = field(default_factory=list)


def simulate(
    cameras: Cameras,
    times: Times,
    machine: Machine,
    *,
    servers: int = 1,
    seed: int = 0,
    until: float = math.inf,
    place: Sequence[int] | None = None,
) -> Outcome:
    """Run until that second, or until every frame has been answered or dropped.

    `place` is each camera's server; without it they take turns, as behind the embedded cloud's
    balancer.
    """
    clock = _Clock()
    draw = random.Random(seed)  # noqa: S311 - a simulation's draws guard nothing
    outcome = Outcome(
        seconds=0.0,
        answers=[[] for _ in cameras.moments],
        taken=sum(map(len, cameras.moments)),
    )
    fleet = [_Server(clock, times, machine, draw) for _ in range(servers)]
    for number, moments in enumerate(cameras.moments):
        camera = _Camera(
            clock,
            fleet[number % servers if place is None else place[number]],
            cameras=cameras,
            number=number,
            outcome=outcome,
            way=lambda: draw.choice(times.around),
        )
        for sequence, moment in enumerate(moments):
            clock.at(moment, camera.take, sequence)
    clock.run(until)
    for one in fleet:
        one.pass_time()
    begins = min(moments[0] for moments in cameras.moments if moments)
    outcome.seconds = clock.now - begins
    outcome.engine_busy = [one.inferring / machine.streams / outcome.seconds for one in fleet]
    outcome.processors_busy = [one.worked / machine.processors / outcome.seconds for one in fleet]
    return outcome


class _Clock:
    """Calls what is due, in the order of time; what is due at once, in the order of asking."""

    def __init__(self) -> None:
        self.now = 0.0
        self._due: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._asked = itertools.count()

    def at(self, moment: float, act: Callable[..., None], *arguments: Any) -> None:
        heapq.heappush(self._due, (moment, next(self._asked), act, arguments))

    def run(self, until: float) -> None:
        while self._due and self._due[0][0] <= until:
            self.now, _, act, arguments = heapq.heappop(self._due)
            act(*arguments)
        if self._due:
            self.now = until


@dataclass(slots=True, eq=False)
class _Work:
    """A step under way on as many processors as it can use."""

    step: Step
    processors: float
    left: float
    """Seconds of it with nothing beside it."""


class _Server:
    """The pipeline's threads and processors; what they do next is the scheduler's to say."""

    def __init__(self, clock: _Clock, times: Times, machine: Machine, draw: random.Random) -> None:
        self._clock, self._times, self._machine, self._draw = clock, times, machine, draw
        self._scheduler = Scheduler(max_delay=round(machine.max_delay_s * _SECOND))
        model = LoadedModel(
            _OFFER,
            _TIMES_ONLY,
            machine.max_batch,
            parallel=_TIMES_ONLY if machine.streams > 1 else None,
            streams=machine.streams,
        )
        self.host = ModelHost(model)
        self.sessions: dict[Any, Session] = {}
        self.inferring = 0.0
        """Seconds of inferences, each counted by itself."""
        self.worked = 0.0
        """Seconds of processors in use."""
        self._works: list[_Work] = []
        self._since = 0.0
        self._change = 0
        """How often what is under way has changed: an end foreseen before is none any more."""

    def submit(self, job: FrameJob) -> None:
        self.pass_time()
        for old in self._scheduler.submit(job):
            self.sessions[old.stream].complete(old)
        self._go_on()

    def _pace(self) -> float:
        """The share of its speed that each step has now."""
        wanted = sum(work.processors for work in self._works)
        return min(1.0, self._machine.processors / wanted) if wanted else 1.0

    def pass_time(self) -> None:
        passed, self._since = self._clock.now - self._since, self._clock.now
        pace = self._pace()
        for work in self._works:
            work.left -= passed * pace
            self.worked += passed * pace * work.processors
            if isinstance(work.step, Infer):
                self.inferring += passed

    def _ended(self, change: int) -> None:
        if change != self._change:
            return
        self.pass_time()
        over = [work for work in self._works if work.left <= _LEAST_WORK]
        self._works = [work for work in self._works if work.left > _LEAST_WORK]
        for work in over:
            self._note(work.step)
        self._go_on()

    def _note(self, step: Step) -> None:
        match step:
            case Decode(job):
                job.ready_at = round(self._clock.now * _SECOND)
                self._scheduler.decoded(job)
            case Infer():
                self._scheduler.inferred(step)
            case Finish(job):
                job.outcome = Found(())
                self.sessions[job.stream].complete(job)

    def _go_on(self) -> None:
        """Give idle threads what there is to do, and look ahead to what ends first."""
        self._change += 1
        while len(self._works) < self._machine.threads:
            step, deadline = self._scheduler.next(round(self._clock.now * _SECOND))
            if step is None:
                if deadline is not None:
                    self._clock.at(deadline / _SECOND, self._ended, self._change)
                break
            processors, seconds = self._size(step)
            self._works.append(_Work(step, processors, seconds))
        if self._works:
            soonest = max(0.0, min(work.left for work in self._works)) / self._pace()
            self._clock.at(self._clock.now + soonest, self._ended, self._change)

    def _size(self, step: Step) -> tuple[float, float]:
        """How many processors it can use, and seconds of it on them."""
        match step:
            case Decode():
                return 1, self._draw.choice(self._times.decode)
            case Infer(parallel=True):
                return 1, self._draw.choice(self._times.side_by_side)
            case Infer():
                took = self._draw.choice(self._times.inference[len(step.batch)])
                return max(1.0, self._machine.processors), took
            case Finish():
                return 1, self._draw.choice(self._times.finish)


class _Camera:
    """A client of one server, on a way that takes its time and no processor."""

    def __init__(
        self,
        clock: _Clock,
        server: _Server,
        *,
        cameras: Cameras,
        number: int,
        outcome: Outcome,
        way: Callable[[], float],
    ) -> None:
        self._clock, self._server, self._outcome, self._number = clock, server, outcome, number
        self._live, self._most = cameras.policy == "live", cameras.under_way
        self._way = way
        self._captured = cameras.moments[number]
        self._waiting: deque[int] = deque()
        self._under_way = 0
        self._session = Session(
            options=HelloOptions(token="", policy=cameras.policy),
            host=server.host,
            window=cameras.under_way,
        )
        self._session.attach(self._answered, next_answer=0)
        server.sessions[self._session.stream] = self._session

    def take(self, sequence: int) -> None:
        """A frame is there; a live camera drops the one that has not been sent."""
        if self._live and self._waiting:
            self._waiting.clear()
            self._outcome.dropped_client += 1
        self._waiting.append(sequence)
        self._send()

    def _send(self) -> None:
        while self._waiting and self._under_way < self._most:
            frame = Frame(self._waiting.popleft(), 0, Encoding.JPEG, b"")
            self._under_way += 1
            self._server.submit(self._session.take(frame, received=0))

    def _answered(self, answer: Any) -> None:
        self._under_way -= len(answer.sequences) if isinstance(answer, Dropped) else 1
        if isinstance(answer, Dropped):
            self._outcome.dropped_server += len(answer.sequences)
        else:
            captured, came = self._captured[answer.sequence], self._clock.now + self._way()
            self._outcome.answers[self._number].append((captured, came))
        # Not within the server's own step, which is not over yet.
        self._clock.at(self._clock.now, self._send)


class _TimesOnly:
    """A network of which is known how long it takes, and nothing else."""

    def prepare(self, image: Any) -> Any:
        raise AssertionError("nothing is inferred in a simulation")

    infer = finish = prepare


_TIMES_ONLY: Final[Any] = _TimesOnly()
_OFFER: Final = ModelOffer(
    name="simulated",
    version="0",
    weights_trained=False,
    weights="none: only its times are known",
    engine="simulated",
    precision="none",
    device="simulated",
    labels=(),
)
