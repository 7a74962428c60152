"""All streams of one server: who may connect, which sessions live, where answers go.

Lives on the event loop's thread. Connections call in from the network side; the pipeline's
threads hand finished frames back through `done`.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import secrets
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from runtime.inference.changes import ChangeGate
from runtime.protocol.clock import now_us
from runtime.protocol.errors import CloseCode, DropReason, FrameError, FrameErrorCode, ProtocolError
from runtime.protocol.framing import LONG_BYTES
from runtime.protocol.limits import Limits
from runtime.protocol.messages import Frame
from runtime.protocol.options import HelloOptions, WelcomeOffer
from runtime.streaming.frames.frame import Found, FrameJob, Unchanged
from runtime.streaming.frames.stream import StreamDecoder
from runtime.streaming.frames.tracks import StreamTracker
from runtime.streaming.host.metrics import Metrics
from runtime.streaming.models import ModelHost
from runtime.streaming.sessions.admission import PendingHandshakes, WaitingBytes
from runtime.streaming.sessions.answers import Session

log = logging.getLogger(__name__)

SERVER_NAME = "visionstack/1"


Done = Callable[[Sequence[FrameJob]], None]
"""Takes frames that have their outcome."""


class Submitter(Protocol):
    """The part of the pipeline that the registry uses."""

    def submit(self, job: FrameJob) -> Sequence[FrameJob]: ...
    def cancel(self, stream: StreamDecoder) -> Sequence[FrameJob]: ...


class ManagedConnection(Protocol):
    """`runtime.streaming.sessions.connection.Connection`, as far as the registry needs it."""

    def __hash__(self) -> int: ...

    @property
    def host(self) -> str:
        """The other end's address without its port."""
        ...

    @property
    def session(self) -> Session | None:
        """Its stream, once it is open."""
        ...

    def hold(self, holding: bool) -> None:
        """Stop reading, or go on."""
        ...

    def fail(self, error: ProtocolError) -> None:
        """End it and tell the other end why. Calls `Registry.leave`."""
        ...

    def go_away(self, *, deadline_seconds: float, reason: str) -> None:
        """Ask the client to move on."""
        ...

    def check_times(self, now: float) -> None:
        """End it if it is too slow at anything. `now` in monotonic seconds."""
        ...


class Registry:
    """`hosts` by model name; the first is served to clients that name none."""

    def __init__(
        self,
        *,
        token: str,
        hosts: Mapping[str, ModelHost],
        limits: Limits,
        metrics: Metrics,
        pipeline: Callable[[Done], Submitter],
    ) -> None:
        self.limits = limits
        self.metrics = metrics
        self.draining: str | None = None
        """Why no new streams are taken; None while they are."""
        self.loading: str | None = None
        """Why there is no model yet; None when all are loaded."""
        self._token = token.encode()
        self._id = secrets.token_hex(8)
        self._hosts = hosts
        self._connections: set[ManagedConnection] = set()
        self._owner: dict[Session, ManagedConnection] = {}
        self._parked: dict[str, tuple[Session, float]] = {}
        self._sessions: dict[str, Session] = {}
        self._session_of: dict[StreamDecoder, Session] = {}
        """Where a frame's answer goes; an ended stream's frames go nowhere."""
        self._waiting: WaitingBytes[StreamDecoder] = WaitingBytes(
            total=limits.waiting_bytes,
            each=limits.session_waiting_bytes,
            streams=limits.connections,
        )
        self.pending = PendingHandshakes(
            limit=limits.pending_handshakes, per_address=limits.pending_per_address
        )
        self._pipeline = pipeline(self.done)

    @property
    def connections(self) -> frozenset[ManagedConnection]:
        return frozenset(self._connections)

    @property
    def busy(self) -> bool:
        """Whether any connected stream still waits for an answer."""
        return any(session.pending for session in self._owner)

    @property
    def full(self) -> bool:
        """Whether as many streams are connected as are allowed."""
        return len(self._owner) >= self.limits.connections

    @property
    def handshake_seconds(self) -> float:
        """How long a newcomer may take to show its token."""
        limits = self.limits
        return (
            limits.crowded_handshake_seconds if self.pending.crowded else limits.handshake_seconds
        )

    def admit(self, connection: ManagedConnection) -> None:
        """A connection was made. Raises ProtocolError when there are too many."""
        self._connections.add(connection)
        self.metrics.connections.set(len(self._connections))
        if self.full:
            raise ProtocolError(
                CloseCode.TOO_MANY_CONNECTIONS,
                f"the server takes {self.limits.connections} connections",
            )
        crowd = ProtocolError(
            CloseCode.TOO_MANY_CONNECTIONS, "too many connections have not shown a token yet"
        )
        self.pending.enter(
            connection, address=connection.host, evict=lambda: connection.fail(crowd)
        )

    def open(
        self, connection: ManagedConnection, options: HelloOptions
    ) -> tuple[Session, WelcomeOffer]:
        """Begin or resume a stream.

        Raises ProtocolError: token, model, too many, draining or not loaded yet.
        """
        if not hmac.compare_digest(options.token.encode(), self._token):
            raise ProtocolError(CloseCode.WRONG_TOKEN, "the token is not this server's")
        if self.draining is not None:
            raise ProtocolError(CloseCode.GOING_AWAY, self.draining)
        if self.loading is not None:
            raise ProtocolError(CloseCode.GOING_AWAY, "the server's model is not loaded yet")
        host = self._host(options.model)
        session = self._resumable(options, host)
        resumed = session is not None
        if session is None:
            session = self._begin(options, host)
        self.pending.leave(connection)
        self._owner[session] = connection
        self.metrics.sessions.set(len(self._sessions))
        connection.hold(self._waiting.held(session.stream))
        return session, self._offer(session, resumed=resumed)

    def frame(self, session: Session, frame: Frame, *, received: int) -> None:
        """A frame has arrived. Raises ProtocolError when the session did not expect it."""
        job = session.take(frame, received=received)
        self.metrics.frames.labels(session.host.name).inc()
        self.metrics.received_bytes.inc(len(frame.payload))
        self._hold_heavy(self._waiting.add(session.stream, len(frame.payload)))
        finished = (job,) if job.outcome is not None else self._pipeline.submit(job)
        if finished:
            # Later, so that the credits hold for a flood of these as for all other frames.
            asyncio.get_running_loop().call_soon(self.done, finished)

    def arriving(self, session: Session, size: int) -> None:
        """So many bytes of the session's next frame, which is not complete, are here."""
        # In steps, and those of small frames not at all: they come and go too often.
        self._hold_heavy(self._waiting.arriving(session.stream, size - size % LONG_BYTES))

    def done(self, jobs: Sequence[FrameJob]) -> None:
        """These frames have their outcome."""
        for job in jobs:
            self._hold_heavy(self._waiting.add(job.stream, -job.release()))
            self._count(job)
            session = self._session_of.get(job.stream)
            if session is not None:
                session.complete(job)

    def leave(self, connection: ManagedConnection, *, final: bool) -> None:
        """A connection has ended; `final` when the client said so, so that nothing is kept."""
        self._connections.discard(connection)
        self.pending.leave(connection)
        self.metrics.connections.set(len(self._connections))
        session = connection.session
        if session is None or self._owner.get(session) is not connection:
            return
        del self._owner[session]
        self._hold_heavy(self._waiting.arriving(session.stream, 0))
        session.detach()
        if session.live or final or self.draining is not None:
            self._end(session)
        else:
            self._parked[session.id] = (session, time.monotonic() + self.limits.resume_seconds)

    def close_all(self) -> None:
        """The server stops now."""
        for session in [session for session in self._owner if session.live]:
            # A lossless client sends them to the next server.
            left = self._pipeline.cancel(session.stream)
            for job in left:
                job.outcome = DropReason.GOING_AWAY
            self.done(left)
        for connection in self.connections:
            connection.fail(
                ProtocolError(CloseCode.GOING_AWAY, self.draining or "the server stops")
            )

    def expire(self) -> None:
        """End the sessions that nobody came back for. Called now and then."""
        now = time.monotonic()
        for session, deadline in list(self._parked.values()):
            if now > deadline:
                del self._parked[session.id]
                self._end(session)

    def _host(self, name: str) -> ModelHost:
        if not name:
            return next(iter(self._hosts.values()))
        host = self._hosts.get(name)
        if host is None:
            raise ProtocolError(
                CloseCode.UNKNOWN_MODEL,
                f"no model {name!r:.80} is served here, only {', '.join(self._hosts)}",
            )
        return host

    def _resumable(self, options: HelloOptions, host: ModelHost) -> Session | None:
        session = self._sessions.get(options.session)
        if session is None or session.live or session.host is not host:
            return None
        if options.connection < session.connection or options.connection == session.connection > 0:
            # It was held up on its way (in a proxy, say) or sent twice, and must not take the
            # stream away from the connection that the client has. A client that does not count
            # says 0.
            raise ProtocolError(CloseCode.TAKEN_OVER, "the client has connected again since")
        session.connection = options.connection
        self._parked.pop(session.id, None)
        owner = self._owner.get(session)
        if owner is not None:
            # The client has lost a connection that looks alive from here.
            owner.fail(ProtocolError(CloseCode.TAKEN_OVER, "the client connected again"))
            self._parked.pop(session.id, None)
        return session

    def _begin(self, options: HelloOptions, host: ModelHost) -> Session:
        if len(self._sessions) >= self.limits.sessions and self._parked:
            # A stream that nobody may come back for must not shut out one that is here.
            longest, _ = self._parked.pop(next(iter(self._parked)))
            self._end(longest)
        if len(self._sessions) >= self.limits.sessions or self.full:
            raise ProtocolError(CloseCode.TOO_MANY_CONNECTIONS, "the server takes no more streams")
        session = Session(
            options=options,
            host=host,
            window=self.limits.window,
            gate=None if options.gate is None else ChangeGate(share=options.gate),
            tracker=StreamTracker(options.confidence) if options.track else None,
        )
        self._sessions[session.id] = self._session_of[session.stream] = session
        return session

    def _end(self, session: Session) -> None:
        self._sessions.pop(session.id, None)
        self._session_of.pop(session.stream, None)
        for job in self._pipeline.cancel(session.stream):
            self._hold_heavy(self._waiting.add(session.stream, -job.release()))
        session.forget()
        self.metrics.sessions.set(len(self._sessions))

    def _offer(self, session: Session, *, resumed: bool) -> WelcomeOffer:
        limits, model = self.limits, session.model
        return WelcomeOffer(
            session=session.id,
            resumed=resumed,
            next_sequence=session.next_sequence,
            window=limits.window,
            frame_bytes=limits.frame_bytes,
            frame_pixels=limits.frame_pixels,
            idle_seconds=limits.idle_seconds,
            resume_seconds=limits.resume_seconds,
            server=SERVER_NAME,
            model=model.offer,
            revision=model.revision,
            server_id=self._id,
        )

    def _count(self, job: FrameJob) -> None:
        match job.outcome:
            case Found():
                outcome = "found"
            case Unchanged():
                outcome = "unchanged"
            case DropReason():
                outcome = "dropped"
            case FrameError(code=code):
                outcome = "failed"
                if code is FrameErrorCode.ENGINE_FAILED:
                    self.metrics.engine_failed(model=job.stream.host.name)
            case _:
                outcome = "predicted"
        self.metrics.answered(
            model=job.stream.host.name,
            outcome=outcome,
            microseconds=now_us() - job.received,
        )

    def _hold_heavy(self, changed_streams: Iterable[StreamDecoder]) -> None:
        """Hold or release the streams of which that has changed."""
        for changed in changed_streams:
            session = self._session_of.get(changed)
            connection = None if session is None else self._owner.get(session)
            if connection is not None:
                connection.hold(self._waiting.held(changed))
