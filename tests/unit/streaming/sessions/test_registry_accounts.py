"""What a registry counts, whom it holds and whom it refuses, with a pipeline that is told when."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from runtime.protocol.errors import CloseCode, DropReason, FrameError, FrameErrorCode, ProtocolError
from runtime.protocol.limits import Limits
from runtime.protocol.messages import Encoding, Frame
from runtime.protocol.options import HelloOptions
from runtime.streaming.frames.frame import Found, FrameJob, Outcome, Predicted, Unchanged
from runtime.streaming.frames.stream import StreamDecoder
from runtime.streaming.host.metrics import Metrics
from runtime.streaming.models import LoadedModel, ModelHost
from runtime.streaming.sessions.answers import Session
from runtime.streaming.sessions.registry import SERVER_NAME, Registry
from tests.unit.streaming.conftest import TOKEN, FakeDetector, offer

STEP = 64 * 1024


class Held:
    """Keeps all frames until they are taken out."""

    def __init__(self) -> None:
        self.jobs: list[FrameJob] = []

    def submit(self, job: FrameJob) -> Sequence[FrameJob]:
        self.jobs.append(job)
        return []

    def cancel(self, stream: StreamDecoder) -> Sequence[FrameJob]:
        gone = [job for job in self.jobs if job.stream is stream]
        self.jobs = [job for job in self.jobs if job.stream is not stream]
        return gone


@dataclass(eq=False)
class Connection:
    registry: Registry
    host: str = "192.0.2.1"
    session: Session | None = None
    holding: list[bool] = field(default_factory=list)
    failures: list[ProtocolError] = field(default_factory=list)
    said: list[Any] = field(default_factory=list)

    def hold(self, holding: bool) -> None:
        self.holding.append(holding)

    def fail(self, error: ProtocolError) -> None:
        self.failures.append(error)
        self.registry.leave(self, final=False)


class Server:
    """A registry of two models with its pipeline and figures."""

    def __init__(self, **limits: float) -> None:
        self.pipeline = Held()
        self.metrics = Metrics()
        names = ("first", "second")
        self.hosts = {
            name: ModelHost(LoadedModel(offer(name, "7"), FakeDetector())) for name in names
        }
        self.registry = Registry(
            token=TOKEN,
            hosts=self.hosts,
            limits=replace(Limits(), **limits),  # type: ignore[arg-type]
            metrics=self.metrics,
            pipeline=lambda done: self.pipeline,
        )

    def connect(self, **options: Any) -> Connection:
        connection = Connection(self.registry)
        self.registry.admit(connection)
        asked = HelloOptions(**{"token": TOKEN, "policy": "lossless", **options})
        connection.session, connection.offer = self.registry.open(  # type: ignore[attr-defined]
            connection, asked
        )
        connection.session.attach(connection.said.append, next_answer=asked.next_sequence)
        return connection

    def refusal(self, **options: Any) -> CloseCode:
        with pytest.raises(ProtocolError) as refused:
            self.connect(**options)
        return refused.value.code

    def send(self, connection: Connection, size: int = 100) -> FrameJob:
        assert connection.session is not None
        frame = Frame(connection.session.next_sequence, 0, Encoding.JPEG, bytes(size))
        self.registry.frame(connection.session, frame, received=0)
        return self.pipeline.jobs[-1]

    def settle(self, job: FrameJob, outcome: Outcome) -> None:
        self.pipeline.jobs.remove(job)
        job.outcome = outcome
        self.registry.done([job])

    def figure(self, name: str, **labels: str) -> float:
        value = self.metrics.registry.get_sample_value(f"visionstack_stream_{name}", labels)
        return 0.0 if value is None else value


def test_a_stream_is_opened_by_what_was_asked_and_told_what_is_allowed() -> None:
    server = Server(window=5, frame_bytes=1000, frame_pixels=2000, idle_seconds=3, resume_seconds=4)
    offered = server.connect(next_sequence=9).offer  # type: ignore[attr-defined]
    assert (offered.window, offered.frame_bytes, offered.frame_pixels) == (5, 1000, 2000)
    assert (offered.idle_seconds, offered.resume_seconds, offered.server) == (3, 4, SERVER_NAME)
    assert (offered.resumed, offered.next_sequence, offered.revision) == (False, 9, 0)
    assert (offered.model.name, offered.model.version) == ("first", "7")
    other = server.connect(model="second").offer  # type: ignore[attr-defined]
    assert other.model.name == "second"
    server.hosts["second"].replace(LoadedModel(offer("second", "8"), FakeDetector()))
    newer = server.connect(model="second").offer  # type: ignore[attr-defined]
    assert (newer.model.version, newer.revision) == ("8", 1)


def test_each_refusal_has_its_code_and_the_token_comes_first() -> None:
    server = Server()
    assert server.refusal(token="wrong") == CloseCode.WRONG_TOKEN
    assert server.refusal(token=TOKEN + "x") == CloseCode.WRONG_TOKEN
    assert server.refusal(model="third") == CloseCode.UNKNOWN_MODEL
    server.registry.loading = "loading"
    assert server.refusal() == CloseCode.GOING_AWAY
    server.registry.draining = "draining"
    assert server.refusal() == CloseCode.GOING_AWAY
    assert server.refusal(token="wrong") == CloseCode.WRONG_TOKEN
    server.registry.draining = server.registry.loading = None
    server.connect()


def test_frames_bytes_and_streams_are_counted_where_they_belong() -> None:
    server = Server()
    first, second = server.connect(), server.connect(model="second")
    for size in (10, 20):
        server.send(first, size)
    server.send(second, 5)
    assert server.figure("frames_total", model="first") == 2
    assert server.figure("frames_total", model="second") == 1
    assert server.figure("received_bytes_total") == 35
    assert (server.figure("sessions"), server.figure("connections")) == (2, 2)
    server.registry.leave(first, final=True)
    assert (server.figure("sessions"), server.figure("connections")) == (1, 1)


@pytest.mark.parametrize(
    ("outcome", "counted", "engine"),
    [
        (Found(()), "found", 0),
        (Unchanged(), "unchanged", 0),
        (Predicted(), "predicted", 0),
        (DropReason.NEWER_FRAME, "dropped", 0),
        (FrameError(FrameErrorCode.UNDECODABLE, "no"), "failed", 0),
        (FrameError(FrameErrorCode.ENGINE_FAILED, "no"), "failed", 1),
    ],
)
def test_an_outcome_is_counted_once_by_what_it_was(
    outcome: Outcome, counted: str, engine: int
) -> None:
    server = Server()
    connection = server.connect(policy="live")
    server.settle(server.send(connection), outcome)
    for one in ("found", "unchanged", "predicted", "dropped", "failed"):
        found = server.figure("answers_total", model="first", outcome=one)
        assert found == (one == counted)
    assert server.figure("engine_failures_total", model="first") == engine
    assert len(connection.said) == 1


def test_a_frames_time_in_the_server_goes_from_its_last_byte_to_its_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = Server()
    job = server.send(server.connect())
    job.received = 7_000_000
    monkeypatch.setattr("runtime.streaming.sessions.registry.now_us", lambda: 7_250_000)
    server.settle(job, Found(()))
    assert server.figure("server_seconds_count", model="first") == 1
    assert server.figure("server_seconds_sum", model="first") == 0.25


def test_it_is_busy_while_a_connected_stream_waits_for_an_answer() -> None:
    server = Server()
    connection = server.connect()
    assert not server.registry.busy
    job = server.send(connection)
    assert server.registry.busy
    server.settle(job, Found(()))
    assert not server.registry.busy


def test_what_comes_for_a_stream_that_has_ended_goes_nowhere() -> None:
    server = Server()
    connection = server.connect(policy="live")
    job = server.send(connection)
    server.registry.leave(connection, final=False)
    job.outcome = Found(())
    server.registry.done([job])
    assert connection.said == []
    assert server.pipeline.jobs == []


def test_what_is_answered_while_nobody_is_connected_is_said_to_the_connection_that_comes() -> None:
    """docs/protocol.md, "lossless": every frame is answered, across connections."""
    server = Server()
    first = server.connect(connection=1)
    job = server.send(first)
    server.registry.leave(first, final=False)
    server.settle(job, Found(()))
    assert first.said == []
    assert first.session is not None
    again = server.connect(session=first.session.id, connection=2)
    assert [answer.sequence for answer in again.said] == [0]


def test_a_stream_that_has_ended_keeps_neither_frames_nor_answers() -> None:
    """Its connection may be there for a while and has the session."""
    server = Server()
    connection = server.connect()
    server.settle(server.send(connection), Found(()))
    server.send(connection)
    server.registry.leave(connection, final=True)
    assert connection.session is not None
    assert connection.session.pending == 0
    with pytest.raises(ProtocolError, match="only from 2 on"):
        connection.session.attach(connection.said.append, next_answer=0)


def test_a_heavy_stream_is_held_until_its_frames_have_left() -> None:
    server = Server(session_waiting_bytes=1000)
    connection, other = server.connect(), server.connect()
    assert (connection.holding, other.holding) == ([False], [False])
    first = server.send(connection, 501)
    second = server.send(connection, 499)
    assert connection.holding == [False]
    third = server.send(connection, 1)
    assert connection.holding == [False, True]
    # It goes on below half.
    server.settle(first, Found(()))
    assert connection.holding == [False, True, False]
    for job in (second, third):
        server.settle(job, Found(()))
    assert other.holding == [False]
    # Nothing is left of it: the whole share is free again.
    server.send(connection, 1000)
    assert connection.holding == [False, True, False]


def test_a_stream_that_comes_back_heavy_is_held_from_the_beginning() -> None:
    server = Server(session_waiting_bytes=1000)
    connection = server.connect(connection=1)
    server.send(connection, 2000)
    server.registry.leave(connection, final=False)
    assert connection.session is not None
    again = server.connect(session=connection.session.id, connection=2)
    assert again.holding == [True]


def test_the_waiting_frames_of_a_stream_that_ends_are_given_back() -> None:
    server = Server(waiting_bytes=2000, session_waiting_bytes=2000)
    for _ in range(3):
        connection = server.connect(policy="live")
        server.send(connection, 1500)
        server.registry.leave(connection, final=False)
    last = server.connect()
    server.send(last, 500)
    assert last.holding == [False]


@pytest.mark.parametrize(("size", "held"), [(STEP - 1, False), (STEP, True), (2 * STEP - 1, True)])
def test_a_frame_that_is_arriving_counts_in_steps_of_64_kib(size: int, held: bool) -> None:
    server = Server(session_waiting_bytes=STEP)
    connection = server.connect(connection=1)
    assert connection.session is not None
    server.send(connection, 1)
    server.registry.arriving(connection.session, size)
    assert connection.holding == ([False, True] if held else [False])
    server.registry.leave(connection, final=False)
    # A part that never became a frame is gone with its connection.
    again = server.connect(session=connection.session.id, connection=2)
    assert again.holding == [False]


def test_when_half_the_places_for_handshakes_are_taken_there_is_less_time() -> None:
    server = Server(pending_handshakes=4, handshake_seconds=5, crowded_handshake_seconds=1)
    seconds = [server.registry.handshake_seconds]
    for _ in range(3):
        server.registry.admit(Connection(server.registry))
        seconds.append(server.registry.handshake_seconds)
    assert seconds == [5, 5, 1, 1]


def test_who_is_evicted_is_told_and_leaves() -> None:
    server = Server(pending_handshakes=2)
    pending = [Connection(server.registry) for _ in range(3)]
    for one in pending:
        server.registry.admit(one)
    assert [[error.code for error in one.failures] for one in pending] == [
        [CloseCode.TOO_MANY_CONNECTIONS],
        [],
        [],
    ]
    assert server.registry.connections == frozenset(pending[1:])


@pytest.mark.parametrize(
    ("before", "now", "taken"),
    [(0, 0, True), (1, 1, False), (2, 1, False), (1, 2, True), (0, 1, True), (1, 0, False)],
)
def test_only_a_later_connection_of_a_stream_may_take_it_over(
    before: int, now: int, taken: bool
) -> None:
    """docs/protocol.md: its `connection` has to be higher than the last hello's, 0 after 0
    excepted."""
    server = Server()
    first = server.connect(connection=before)
    assert first.session is not None
    if not taken:
        assert server.refusal(session=first.session.id, connection=now) == CloseCode.TAKEN_OVER
        assert first.failures == []
        return
    second = server.connect(session=first.session.id, connection=now)
    assert second.session is first.session
    assert [error.code for error in first.failures] == [CloseCode.TAKEN_OVER]


def test_what_cannot_be_resumed_begins_anew() -> None:
    server = Server()
    live = server.connect(policy="live")
    lossless = server.connect()
    assert live.session is not None
    assert lossless.session is not None
    for session, options in (
        (live.session, {"policy": "live"}),
        (lossless.session, {"model": "second"}),
        (None, {"session": "of another server"}),
    ):
        asked = {"session": "" if session is None else session.id, **options}
        fresh = server.connect(**asked)
        assert fresh.session not in (live.session, lossless.session)
        assert not fresh.offer.resumed  # type: ignore[attr-defined]
    assert live.failures == lossless.failures == []


def test_a_draining_server_keeps_no_stream_for_one_that_comes_back() -> None:
    server = Server()
    connection = server.connect()
    server.registry.draining = "moving"
    server.registry.leave(connection, final=False)
    assert server.figure("sessions") == 0


def test_leaving_twice_is_leaving_once() -> None:
    server = Server()
    connection, other = server.connect(), server.connect()
    server.registry.leave(connection, final=False)
    server.registry.leave(connection, final=True)
    assert (server.figure("sessions"), server.figure("connections")) == (2, 1)
    server.send(other)


def test_a_server_that_stops_reports_what_its_live_streams_leave_and_tells_all() -> None:
    server = Server()
    live, lossless = server.connect(policy="live"), server.connect()
    server.send(live)
    kept = server.send(lossless)
    server.registry.close_all()
    assert [(message.sequences, message.reason) for message in live.said] == [
        ((0,), DropReason.GOING_AWAY)
    ]
    assert lossless.said == []
    assert server.pipeline.jobs == [kept]
    for one in (live, lossless):
        ((code, reason),) = [(error.code, error.reason) for error in one.failures]
        assert (code, reason) == (CloseCode.GOING_AWAY, "the server stops")
    assert not server.registry.connections


async def test_a_frame_that_has_its_outcome_is_settled_in_a_later_turn_of_the_loop() -> None:
    server = Server()
    connection = server.connect()
    assert connection.session is not None
    frame = Frame(0, 0, Encoding.UNKNOWN, b"x")
    server.registry.frame(connection.session, frame, received=0)
    assert connection.said == []
    await asyncio.sleep(0)
    (failed,) = connection.said
    assert failed.code == FrameErrorCode.UNSUPPORTED_ENCODING
    assert server.pipeline.jobs == []


async def test_a_dropped_frame_gives_its_credit_back_in_a_later_turn_of_the_loop() -> None:
    server = Server()
    connection = server.connect(policy="live")
    first = server.send(connection)
    first.outcome = DropReason.NEWER_FRAME
    server.pipeline.submit = lambda job: [first]  # type: ignore[method-assign]
    server.send(connection)
    assert connection.said == []
    await asyncio.sleep(0)
    (dropped,) = connection.said
    assert dropped.sequences == (0,)


def test_gate_and_tracking_are_as_the_hello_asks() -> None:
    server = Server()
    plain = server.connect(track=False, key_interval=3).session
    tracked = server.connect(track=True, key_interval=3).session
    gated = server.connect(gate=0.0).session
    assert plain is not None
    assert tracked is not None
    assert gated is not None
    assert [one.stream.serial for one in (plain, tracked, gated)] == [False, True, True]
    keys = [tracked.stream.next_is_key(server.hosts["first"].current) for _ in range(4)]
    assert keys == [True, False, False, True]
