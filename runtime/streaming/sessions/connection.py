"""The server's end of one connection, whatever carries it: bytes of messages in, answers out."""

from __future__ import annotations

import logging
import time
from typing import Protocol

from runtime.protocol.clock import now_us
from runtime.protocol.connection import ServerConnection, State
from runtime.protocol.errors import CloseCode, ProtocolError
from runtime.protocol.messages import Close, Frame, GoAway, Hello, Ping, Pong
from runtime.protocol.options import HelloOptions
from runtime.streaming.sessions.answers import Session
from runtime.streaming.sessions.registry import Registry

log = logging.getLogger(__name__)


class Link(Protocol):
    """What a transport does for a connection. None of it blocks."""

    @property
    def address(self) -> str: ...
    @property
    def stalled_since(self) -> float | None:
        """Since when (monotonic seconds) the other end has not read enough; None if it does."""
        ...

    @property
    def partial_since(self) -> float | None:
        """Since when a message has been arriving; None when there is none."""
        ...

    def send(self, message: bytes) -> None: ...
    def hold(self, holding: bool) -> None:
        """Stop reading from the other end, or go on."""
        ...

    def close(self, code: CloseCode, *, abort: bool) -> None:
        """End the connection, after what was sent unless `abort`."""
        ...


class Connection:
    """Feeds a `ServerConnection` and keeps its times."""

    def __init__(self, registry: Registry, link: Link) -> None:
        self._registry = registry
        self._link = link
        self._connection = ServerConnection(limits=registry.limits)
        self._began = self._heard = time.monotonic()
        self._gone = False
        self.session: Session | None = None

    @property
    def message_limit(self) -> int:
        return self._connection.message_limit

    def connected(self) -> None:
        try:
            self._registry.admit(self)
        except ProtocolError as error:
            self.fail(error)

    def received(self, message: bytes) -> None:
        """A whole message has arrived."""
        if self._gone:
            return
        arrived = now_us()
        self._heard = time.monotonic()
        try:
            match self._connection.receive(message):
                case Frame() as frame if self.session is not None:
                    self._registry.frame(self.session, frame, received=arrived)
                case Ping(sent):
                    self._link.send(Pong(sent, arrived, now_us()).encode())
                case Hello(options):
                    self._open(options)
                case Close():
                    self._end(CloseCode.NORMAL, final=True)
        except ProtocolError as error:
            self.fail(error)

    def lost(self) -> None:
        """The connection is gone."""
        if not self._gone:
            self._gone = True
            self._registry.leave(self, final=False)

    def fail(self, error: ProtocolError, *, abort: bool = False) -> None:
        """End the connection because of what the other end did, and tell it why."""
        if self._gone:
            return
        log.info(
            "connection closed",
            extra={
                "address": self._link.address,
                "code": error.code.name.lower(),
                "reason": error.reason,
            },
        )
        if self._connection.state is not State.CLOSED:
            self._link.send(self._connection.send_close(error.code, error.reason))
        self._end(error.code, final=False, abort=abort)

    def go_away(self, *, deadline_seconds: float, reason: str) -> None:
        """Ask the client to move on; its frames on the way are still answered."""
        if self._connection.state is State.OPEN:
            self._link.send(GoAway(int(deadline_seconds * 1000), reason).encode())
        else:
            self.fail(ProtocolError(CloseCode.GOING_AWAY, reason))

    def hold(self, holding: bool) -> None:
        self._link.hold(holding)

    def check_times(self, now: float) -> None:
        """End the connection if it is too slow at anything. `now` in monotonic seconds."""
        limits = self._registry.limits
        link = self._link
        if self.session is None and now - self._began > limits.handshake_seconds:
            self.fail(
                ProtocolError(
                    CloseCode.HANDSHAKE_TIMEOUT, f"no hello within {limits.handshake_seconds:g} s"
                )
            )
        elif link.stalled_since and now - link.stalled_since > limits.stall_seconds:
            self.fail(
                ProtocolError(
                    CloseCode.SLOW_READER, f"answers not read for {limits.stall_seconds:g} s"
                ),
                abort=True,
            )
        elif link.partial_since and now - link.partial_since > limits.message_seconds:
            self.fail(
                ProtocolError(
                    CloseCode.IDLE_TIMEOUT,
                    f"a message took more than {limits.message_seconds:g} s",
                )
            )
        elif now - self._heard > limits.idle_seconds and not link.partial_since:
            self.fail(
                ProtocolError(
                    CloseCode.IDLE_TIMEOUT, f"nothing heard for {limits.idle_seconds:g} s"
                )
            )

    def _open(self, options: HelloOptions) -> None:
        session, offer = self._registry.open(self, options)
        next_answer = options.next_sequence
        unanswered = session.unanswered_from(next_answer) if offer.resumed else 0
        self._link.send(self._connection.send_welcome(offer, unanswered=unanswered))
        self.session = session
        session.attach(self._answer, next_answer=next_answer)
        log.info(
            "stream opened",
            extra={
                "address": self._link.address,
                "session": session.id[:8],
                "model": offer.model.name,
                "policy": options.policy,
                "resumed": offer.resumed,
                "client": options.client,
            },
        )

    def _answer(self, message: bytes, frames: int) -> None:
        self._connection.note_answered(frames)
        self._link.send(message)

    def _end(self, code: CloseCode, *, final: bool, abort: bool = False) -> None:
        self._gone = True
        self._registry.metrics.closes.labels(code.name.lower()).inc()
        self._registry.leave(self, final=final)
        self._link.close(code, abort=abort)
