"""All streams of one server: who may connect, which sessions live, where answers go.

Lives on the event loop's thread. Connections call in from the network side; the pipeline's
threads hand finished frames back through `done`.
"""

from __future__ import annotations

import hmac
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from runtime.inference.changes import ChangeGate
from runtime.protocol.clock import now_us
from runtime.protocol.errors import CloseCode, DropReason, FrameError, FrameErrorCode, ProtocolError
from runtime.protocol.limits import Limits
from runtime.protocol.messages import Frame
from runtime.protocol.options import HelloOptions, WelcomeOffer
from runtime.streaming.frames.frame import Found, FrameJob, Unchanged
from runtime.streaming.frames.tracks import StreamTracker
from runtime.streaming.host.metrics import Metrics
from runtime.streaming.models import ModelHost
from runtime.streaming.sessions.answers import Session

if TYPE_CHECKING:
    from runtime.streaming.sessions.connection import Connection

log = logging.getLogger(__name__)

SERVER_NAME = "visionstack/1"


Done = Callable[[Sequence[FrameJob]], None]
"""Takes frames that have their outcome."""


class Submitter(Protocol):
    """The part of the pipeline that the registry uses."""

    def submit(self, job: FrameJob) -> Sequence[FrameJob]: ...
    def cancel(self, session: Session) -> Sequence[FrameJob]: ...


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
        self._token = token.encode()
        self._hosts = hosts
        self._connections: set[Connection] = set()
        self._owner: dict[Session, Connection] = {}
        self._parked: dict[str, tuple[Session, float]] = {}
        self._sessions: dict[str, Session] = {}
        self._waiting_bytes = 0
        self._holding = False
        self._pipeline = pipeline(self.done)

    @property
    def connections(self) -> frozenset[Connection]:
        return frozenset(self._connections)

    @property
    def busy(self) -> bool:
        """Whether any connected stream still waits for an answer."""
        return any(session.pending for session in self._owner)

    def admit(self, connection: Connection) -> None:
        """A connection was made. Raises ProtocolError when there are too many."""
        newcomers = sum(1 for one in self._connections if one.session is None)
        self._connections.add(connection)
        self.metrics.connections.set(len(self._connections))
        if len(self._connections) > self.limits.connections:
            raise ProtocolError(
                CloseCode.TOO_MANY_CONNECTIONS,
                f"the server takes {self.limits.connections} connections",
            )
        if newcomers >= self.limits.pending_handshakes:
            raise ProtocolError(
                CloseCode.TOO_MANY_CONNECTIONS,
                f"{newcomers} connections have not shown a token yet",
            )

    def open(self, connection: Connection, options: HelloOptions) -> tuple[Session, WelcomeOffer]:
        """Begin or resume a stream. Raises ProtocolError: token, model, draining, too many."""
        if not hmac.compare_digest(options.token.encode(), self._token):
            raise ProtocolError(CloseCode.WRONG_TOKEN, "the token is not this server's")
        if self.draining is not None:
            raise ProtocolError(CloseCode.GOING_AWAY, self.draining)
        host = self._host(options.model)
        session = self._resumable(options, host)
        resumed = session is not None
        if session is None:
            session = self._begin(options, host)
        self._owner[session] = connection
        self.metrics.sessions.set(len(self._sessions))
        if self._holding:
            connection.hold(True)
        return session, self._offer(session, resumed=resumed)

    def frame(self, session: Session, frame: Frame, *, received: int) -> None:
        """A frame has arrived. Raises ProtocolError when the session did not expect it."""
        job = session.take(frame, received=received)
        self.metrics.frames.labels(session.host.name).inc()
        self.metrics.received_bytes.inc(len(frame.payload))
        self._waiting_bytes += len(frame.payload)
        self._hold_or_release()
        self.done(self._pipeline.submit(job))

    def done(self, jobs: Sequence[FrameJob]) -> None:
        """These frames have their outcome."""
        for job in jobs:
            self._waiting_bytes -= len(job.frame.payload)
            self._count(job)
            job.session.complete(job)
        if self._holding:
            self._hold_or_release()

    def leave(self, connection: Connection, *, final: bool) -> None:
        """A connection has ended; `final` when the client said so, so that nothing is kept."""
        self._connections.discard(connection)
        self.metrics.connections.set(len(self._connections))
        session = connection.session
        if session is None or self._owner.get(session) is not connection:
            return
        del self._owner[session]
        session.detach()
        if session.live or final or self.draining is not None:
            self._end(session)
        else:
            self._parked[session.id] = (session, now_us() / 1e6 + self.limits.resume_seconds)

    def close_all(self) -> None:
        """The server stops now."""
        for connection in self.connections:
            connection.fail(
                ProtocolError(CloseCode.GOING_AWAY, self.draining or "the server stops")
            )

    def expire(self) -> None:
        """End the sessions that nobody came back for. Called now and then."""
        now = now_us() / 1e6
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
        if options.connection < session.connection:
            # It was held up on its way (in a proxy, say) and must not take the stream away from
            # the connection that the client has made since.
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
        if len(self._sessions) >= self.limits.sessions:
            raise ProtocolError(
                CloseCode.TOO_MANY_CONNECTIONS, f"the server takes {self.limits.sessions} streams"
            )
        session = Session(
            options=options,
            host=host,
            window=self.limits.window,
            gate=None if options.gate is None else ChangeGate(share=options.gate),
            tracker=StreamTracker(options.confidence) if options.track else None,
        )
        self._sessions[session.id] = session
        return session

    def _end(self, session: Session) -> None:
        self._sessions.pop(session.id, None)
        for job in self._pipeline.cancel(session):
            self._waiting_bytes -= len(job.frame.payload)
        self.metrics.sessions.set(len(self._sessions))

    def _offer(self, session: Session, *, resumed: bool) -> WelcomeOffer:
        limits = self.limits
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
            model=session.host.current.offer,
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
                    self.metrics.engine_failed(model=job.session.host.name)
            case _:
                outcome = "predicted"
        self.metrics.answered(
            model=job.session.host.name,
            outcome=outcome,
            microseconds=now_us() - job.received,
        )

    def _hold_or_release(self) -> None:
        """Above the limit on waiting bytes nothing is read, until half of them are worked off."""
        if not self._holding and self._waiting_bytes > self.limits.waiting_bytes:
            self._holding = True
        elif self._holding and self._waiting_bytes < self.limits.waiting_bytes // 2:
            self._holding = False
        else:
            return
        for connection in self._connections:
            connection.hold(self._holding)
