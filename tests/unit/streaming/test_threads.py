"""Which thread touches what of a stream, with the pipeline's threads running as they please."""

from __future__ import annotations

import functools
import queue
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from runtime.protocol.errors import ProtocolError
from runtime.protocol.limits import Limits
from runtime.protocol.messages import Dropped, Encoding, Frame, Result
from runtime.protocol.options import HelloOptions
from runtime.streaming.frames import stream
from runtime.streaming.frames.frame import FrameJob
from runtime.streaming.frames.pipeline import Pipeline
from runtime.streaming.frames.stream import StreamDecoder
from runtime.streaming.host.metrics import Metrics
from runtime.streaming.models import LoadedModel, ModelHost
from runtime.streaming.sessions.answers import Answer, Session
from runtime.streaming.sessions.registry import Registry
from tests.unit.streaming.conftest import TOKEN, FakeDetector, offer, picture

PICTURES = [picture(level, size=(8, 8)) for level in range(0, 256, 16)]
KINDS: list[tuple[dict[str, Any], float]] = [
    ({"policy": "lossless"}, 0.0),
    ({"policy": "lossless", "gate": 0.001}, 0.0),
    ({"policy": "lossless", "track": True, "key_interval": 3}, 1.0),
    ({"policy": "lossless"}, 0.4),
    ({"policy": "lossless"}, 1.0),
    ({"policy": "live"}, 0.0),
    ({"policy": "live", "gate": 0.001}, 0.3),
]
"""What a stream asks for, and the share of its frames that are video, after the first three."""


@dataclass
class Watch:
    """What went wrong, and on which threads the methods of `StreamDecoder` ran."""

    faults: list[str] = field(default_factory=list)
    threads: dict[str, set[str]] = field(default_factory=dict)

    def on(self, method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        def watched(*args: Any, **kwargs: Any) -> Any:
            role = threading.current_thread().name.partition("-")[0]
            self.threads.setdefault(method.__name__, set()).add(role)
            try:
                return method(*args, **kwargs)
            except Exception as error:
                self.faults.append(f"{method.__name__}: {error!r}")
                raise

        return watched


class Units:
    """A video decoder that wants its units one after another, in order, and none after its end."""

    def __init__(self, *, pixels: int, memory: object) -> None:
        self.busy = threading.Lock()
        self.last = -1
        self.closed = False

    def decode(self, unit: bytes, *, memory: int) -> np.ndarray:
        assert self.busy.acquire(blocking=False), "two units at once"
        try:
            number = int.from_bytes(unit, "big")
            assert number > self.last, f"unit {number} after {self.last}"
            self.last = number
            time.sleep(0.001)
            assert not self.closed, "closed while a unit is decoded"
            return np.full((8, 8, 3), number % 256, np.uint8)
        finally:
            self.busy.release()

    def close(self) -> None:
        self.closed = True


@dataclass(eq=False)
class Client:
    """A connection that is an object only, and what its stream was sent."""

    registry: Registry
    video: float
    handed_over: set[tuple[StreamDecoder, int]]
    host: str = "192.0.2.1"
    session: Session | None = None
    answers: list[object] = field(default_factory=list)
    early: list[int] = field(default_factory=list)
    sent: int = 0

    def open(self, options: HelloOptions) -> None:
        self.registry.admit(self)
        self.session, _ = self.registry.open(self, options)
        self.session.attach(self.answered, next_answer=0)

    def send(self, chance: random.Random) -> None:
        video = self.sent >= 3 and chance.random() < self.video
        encoding = Encoding.H264 if video else Encoding.PNG
        payload = self.sent.to_bytes(2, "big") if video else chance.choice(PICTURES)
        self.registry.frame(self.session, Frame(self.sent, 0, encoding, payload), received=0)
        self.sent += 1

    def answered(self, answer: Answer) -> None:
        self.answers.append(answer)
        if isinstance(answer, Result) and (
            (self.session.stream, answer.sequence) not in self.handed_over
        ):
            self.early.append(answer.sequence)

    def hold(self, holding: bool) -> None: ...
    def fail(self, error: ProtocolError) -> None:
        raise error


class Observer:
    def batch_inferred(self, *, model: str, frames: int, microseconds: int) -> None: ...


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Iterator[Watch]:
    watch = Watch()
    decode_picture = stream.decode_picture

    def slowly(frame: Frame, **limits: int) -> np.ndarray:
        time.sleep(0.0004 * (frame.sequence % 4))
        return decode_picture(frame, **limits)

    monkeypatch.setattr(stream, "decode_picture", slowly)
    for name in ("expect", "next_is_key", "picture", "unchanged", "close"):
        monkeypatch.setattr(StreamDecoder, name, watch.on(getattr(StreamDecoder, name)))
    monkeypatch.setattr(stream, "VideoDecoder", Units)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield watch
    sys.setswitchinterval(interval)


@pytest.mark.parametrize("seed", range(12))
def test_however_the_threads_run_answers_are_whole_in_order_and_decoding_is_never_disturbed(
    watch: Watch, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(seed)  # noqa: S311
    finished: queue.SimpleQueue[Sequence[FrameJob]] = queue.SimpleQueue()
    pipeline = Pipeline(done=finished.put, observer=Observer(), frame_pixels=10**4, threads=4)
    registry = Registry(
        token=TOKEN,
        hosts={"fake": ModelHost(LoadedModel(offer(), FakeDetector(), 4))},
        limits=Limits(),
        metrics=Metrics(),
        pipeline=lambda done: pipeline,
    )
    handed_over: set[tuple[StreamDecoder, int]] = set()

    def hand_over(*, seconds: float) -> None:
        """What the event loop does with the frames that threads have finished."""
        jobs = finished.get(timeout=seconds)
        handed_over.update((job.stream, job.frame.sequence) for job in jobs)
        registry.done(jobs)

    class Loop:
        def call_soon(self, done: object, jobs: Sequence[FrameJob]) -> None:
            finished.put(jobs)

    monkeypatch.setattr("asyncio.get_running_loop", Loop)
    pipeline.start()
    try:
        clients = [Client(registry, video, handed_over) for _, video in KINDS]
        for client, (options, _) in zip(clients, KINDS, strict=True):
            client.open(HelloOptions(token=TOKEN, **options))
        for turn in range(150):
            client = chance.choice(clients)
            for _ in range(chance.randrange(8)):
                client.send(chance)
                time.sleep(chance.choice((0, 0, 0.0005)))
            while not finished.empty():
                hand_over(seconds=0)
            if turn % 5 == 4:
                # In the middle of its frames, and another comes.
                place = chance.randrange(len(clients))
                registry.leave(clients[place], final=True)
                options, video = KINDS[place]
                clients[place] = Client(registry, video, handed_over)
                clients[place].open(HelloOptions(token=TOKEN, **options))
        while any(client.session.pending for client in clients):
            hand_over(seconds=30)
    finally:
        assert pipeline.stop(seconds=30)
    assert watch.faults == []
    for client in clients:
        assert client.early == []
        assert all(isinstance(answer, Result | Dropped) for answer in client.answers)
        results = [one.sequence for one in client.answers if isinstance(one, Result)]
        dropped = [n for one in client.answers if isinstance(one, Dropped) for n in one.sequences]
        assert results == sorted(results)
        assert sorted(results + dropped) == list(range(client.sent))
        assert not dropped or client.session.live
    for name in ("next_is_key", "picture", "unchanged"):
        assert watch.threads[name] == {"pipeline"}
    assert watch.threads["expect"] == {"MainThread"}


def test_a_streams_decoding_state_refuses_a_second_thread() -> None:
    entered, leave = threading.Event(), threading.Event()

    class Slow:
        def unchanged(self, frame: np.ndarray) -> bool:
            entered.set()
            return leave.wait(20)

        def forget(self) -> None: ...

    host = ModelHost(LoadedModel(offer(), FakeDetector()))
    state = StreamDecoder(host, confidence=0.3, iou=0.5, gate=Slow())
    image = np.zeros((8, 8, 3), np.uint8)
    thread = threading.Thread(target=state.unchanged, args=(image,))
    thread.start()
    assert entered.wait(20)
    unit = Frame(0, 0, Encoding.H264, b"")
    calls: list[Callable[[], object]] = [
        lambda: state.unchanged(image),
        lambda: state.next_is_key(host.current),
        lambda: state.picture(unit, pixels=100),
        state.close,
    ]
    for call in calls:
        with pytest.raises(RuntimeError, match="Two threads"):
            call()
    # This one may come from anywhere at any time, and keeps nobody waiting.
    state.forget_reference()
    leave.set()
    thread.join()
    assert state.close() is False
