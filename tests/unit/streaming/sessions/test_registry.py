"""Which streams a server knows, by connections that are objects only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest

from runtime.protocol.errors import CloseCode, ProtocolError
from runtime.protocol.limits import Limits
from runtime.protocol.options import HelloOptions
from runtime.streaming.frames.frame import FrameJob
from runtime.streaming.frames.stream import StreamDecoder
from runtime.streaming.host.metrics import Metrics
from runtime.streaming.models import LoadedModel, ModelHost
from runtime.streaming.sessions.answers import Session
from runtime.streaming.sessions.registry import Registry
from tests.unit.streaming.conftest import TOKEN, FakeDetector, offer


class Idle:
    """A pipeline that gets nothing done."""

    def __init__(self) -> None:
        self.cancelled: list[StreamDecoder] = []

    def submit(self, job: FrameJob) -> Sequence[FrameJob]:
        return []

    def cancel(self, stream: StreamDecoder) -> Sequence[FrameJob]:
        self.cancelled.append(stream)
        return []


@dataclass(eq=False)
class FakeConnection:
    """Leaves as soon as it is refused, as a connection does whose peer is gone."""

    registry: Registry
    host: str = "192.0.2.1"
    session: Session | None = None
    failures: list[ProtocolError] = field(default_factory=list)

    def hold(self, held: bool) -> None:
        """Nothing is read here."""

    def fail(self, error: ProtocolError) -> None:
        self.failures.append(error)
        self.registry.leave(self, final=False)


class Clock:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def monotonic(self) -> float:
        return self.seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("runtime.streaming.sessions.registry.time", clock)
    return clock


def make_registry(*, pipeline: Idle | None = None, **limits: float) -> Registry:
    return Registry(
        token=TOKEN,
        hosts={"fake": ModelHost(LoadedModel(offer(), FakeDetector()))},
        limits=replace(Limits(), **limits),
        metrics=Metrics(),
        pipeline=lambda done: pipeline or Idle(),
    )


def connect(registry: Registry, *, resume: Session | None = None, count: int = 0) -> FakeConnection:
    connection = FakeConnection(registry)
    registry.admit(connection)
    options = HelloOptions(
        token=TOKEN,
        policy="lossless",
        session="" if resume is None else resume.id,
        connection=count,
    )
    connection.session, welcome = registry.open(connection, options)
    assert welcome.resumed == (connection.session is resume)
    return connection


def streams(registry: Registry) -> float:
    return registry.metrics.sessions._value.get()


def connections(registry: Registry) -> float:
    return registry.metrics.connections._value.get()


def test_a_stream_that_came_back_is_not_ended_when_its_time_to_come_back_is_over(
    clock: Clock,
) -> None:
    registry = make_registry(resume_seconds=30)
    first = connect(registry, count=1)
    registry.leave(first, final=False)
    second = connect(registry, resume=first.session, count=2)
    assert second.session is first.session
    clock.seconds += 31
    registry.expire()
    assert streams(registry) == 1
    registry.leave(second, final=False)
    assert connect(registry, resume=first.session, count=3).session is first.session


def test_a_stream_taken_over_from_a_connection_that_seemed_alive_is_not_ended_either(
    clock: Clock,
) -> None:
    registry = make_registry(resume_seconds=30)
    first = connect(registry, count=1)
    second = connect(registry, resume=first.session, count=2)
    assert [error.code for error in first.failures] == [CloseCode.TAKEN_OVER]
    clock.seconds += 31
    registry.expire()
    assert streams(registry) == 1
    registry.leave(second, final=False)
    assert connect(registry, resume=first.session, count=3).session is first.session


def test_a_stream_that_nobody_came_back_for_is_forgotten_after_its_time_and_not_before(
    clock: Clock,
) -> None:
    pipeline = Idle()
    registry = make_registry(pipeline=pipeline, resume_seconds=30)
    left = connect(registry)
    registry.leave(left, final=False)
    clock.seconds += 29
    registry.expire()
    assert streams(registry) == 1
    clock.seconds += 2
    registry.expire()
    assert streams(registry) == 0
    registry.expire()
    assert pipeline.cancelled == [left.session.stream]
    assert connect(registry, resume=left.session).session is not left.session


def test_a_stream_that_was_ended_by_its_client_is_not_kept() -> None:
    registry = make_registry()
    ended = connect(registry)
    registry.leave(ended, final=True)
    assert streams(registry) == 0


def test_the_connections_are_counted_as_they_come_and_go() -> None:
    registry = make_registry()
    first, second = connect(registry), connect(registry)
    assert connections(registry) == 2
    registry.leave(first, final=False)
    assert connections(registry) == 1
    registry.leave(second, final=True)
    assert connections(registry) == 0
    assert not registry.connections


def test_as_many_streams_as_allowed_are_connected_and_not_one_more() -> None:
    registry = make_registry(connections=2)
    connect(registry)
    assert not registry.full
    late = FakeConnection(registry)
    registry.admit(late)
    connect(registry)
    assert registry.full
    with pytest.raises(ProtocolError, match="takes 2 connections") as refused:
        registry.admit(FakeConnection(registry))
    assert refused.value.code is CloseCode.TOO_MANY_CONNECTIONS
    # It was admitted while there was room, and shows its token now.
    with pytest.raises(ProtocolError, match="no more streams"):
        registry.open(late, HelloOptions(token=TOKEN))


def test_as_many_streams_as_allowed_are_known_and_the_longest_parked_gives_way() -> None:
    registry = make_registry(connections=9, sessions=3)
    parked = [connect(registry) for _ in range(2)]
    for connection in parked:
        registry.leave(connection, final=False)
    connect(registry)
    assert streams(registry) == 3
    connect(registry)
    assert streams(registry) == 3
    assert connect(registry, resume=parked[1].session).session is parked[1].session
    with pytest.raises(ProtocolError, match="no more streams"):
        connect(registry)
