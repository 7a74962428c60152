"""The server's end of one connection, whatever carries it: bytes in, answers out."""

from __future__ import annotations

import logging
import time
from typing import Protocol

from runtime.protocol.clock import now_us
from runtime.protocol.connection import Role, State, StreamProtocol
from runtime.protocol.errors import CloseCode, ProtocolError
from runtime.protocol.framing import LengthPrefixed, Whole
from runtime.protocol.messages import Close, Frame, GoAway, Hello, Message, Ping, Pong, Welcome
from runtime.protocol.options import HelloOptions
from runtime.streaming.sessions.admission import TokenBucket
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

    def send(self, data: bytes) -> None: ...
    def hold(self, holding: bool) -> None:
        """Stop reading from the other end, or go on."""
        ...

    def close(self, code: CloseCode, *, abort: bool) -> None:
        """End the connection, after what was sent unless `abort`."""
        ...


class Connection:
    """Feeds a `StreamProtocol` and keeps its times."""

    def __init__(self, registry: Registry, link: Link, *, framing: LengthPrefixed | Whole) -> None:
        self._registry = registry
        self._link = link
        self._protocol = StreamProtocol(Role.SERVER, framing=framing, limits=registry.limits)
        self._began = self._heard = time.monotonic()
        self._partial_since: float | None = None
        """Since when a message has been arriving; None when there is none."""
        self._held = False
        self._released = 0.0
        self._pings = TokenBucket(
            rate=registry.limits.pings_per_second, burst=registry.limits.ping_burst
        )
        self._gone = False
        self.session: Session | None = None

    @property
    def message_limit(self) -> int:
        return self._protocol.message_limit

    @property
    def host(self) -> str:
        """The other end's address without its port."""
        return self._link.address.rpartition(":")[0]

    def connected(self) -> None:
        try:
            self._registry.admit(self)
        except ProtocolError as error:
            self.fail(error)

    def received(self, data: bytes) -> None:
        """Bytes have arrived: see `StreamProtocol.receive_data`."""
        arrived = now_us()
        self._protocol.receive_data(data)
        try:
            for message in self._protocol.events():
                self._heard = time.monotonic()
                self._partial_since = None
                match message:
                    case Frame() if self.session is not None:
                        self._registry.frame(self.session, message, received=arrived)
                    case Ping(sent):
                        self._pong(sent, arrived)
                    case Hello(options):
                        self._open(options)
                    case Close():
                        self._end(CloseCode.NORMAL, final=True)
        except ProtocolError as error:
            self.fail(error)
        self.arriving()

    def arriving(self) -> None:
        """What has arrived of a message that is not whole may have changed."""
        if not self._protocol.partial:
            self._partial_since = None
        elif self._partial_since is None:
            self._partial_since = time.monotonic()
        if self.session is not None and not self._gone:
            self._registry.arriving(self.session, self._protocol.partial_bytes)

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
        self._protocol.close(error.code, error.reason)
        self._flush()
        self._end(error.code, final=False, abort=abort)

    def go_away(self, *, deadline_seconds: float, reason: str) -> None:
        """Ask the client to move on; its frames on the way are still answered."""
        if self._protocol.state is State.OPEN:
            self._send(GoAway(int(deadline_seconds * 1000), reason))
        else:
            self.fail(ProtocolError(CloseCode.GOING_AWAY, reason))

    def hold(self, holding: bool) -> None:
        """Stop reading, or go on; the other end's clocks stand still meanwhile."""
        if holding != self._held:
            self._held = holding
            self._heard = self._released = time.monotonic()
            self._link.hold(holding)

    def check_times(self, now: float) -> None:
        """End the connection if it is too slow at anything. `now` in monotonic seconds."""
        limits = self._registry.limits
        link = self._link
        patience = self._registry.handshake_seconds
        if self.session is None and now - self._began > patience:
            late = CloseCode.HANDSHAKE_TIMEOUT, f"no hello within {patience:g} s"
        elif link.stalled_since and now - link.stalled_since > limits.stall_seconds:
            late = CloseCode.SLOW_READER, f"answers not read for {limits.stall_seconds:g} s"
        elif self._held:
            return
        elif self._partial_since:
            if now - max(self._partial_since, self._released) <= limits.message_seconds:
                return
            late = CloseCode.IDLE_TIMEOUT, f"a message took more than {limits.message_seconds:g} s"
        elif now - self._heard > limits.idle_seconds:
            late = CloseCode.IDLE_TIMEOUT, f"nothing heard for {limits.idle_seconds:g} s"
        else:
            return
        self.fail(ProtocolError(*late), abort=late[0] is CloseCode.SLOW_READER)

    def _pong(self, sent: int, arrived: int) -> None:
        if not self._pings.take(self._heard):
            raise ProtocolError(
                CloseCode.PROTOCOL_ERROR,
                f"more than {self._registry.limits.pings_per_second:g} pings a second",
            )
        self._send(Pong(sent, arrived, now_us()))

    def _open(self, options: HelloOptions) -> None:
        session, offer = self._registry.open(self, options)
        self._send(Welcome(offer))
        self.session = session
        session.attach(self._send, next_answer=options.next_sequence)
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

    def _send(self, message: Message) -> None:
        self._protocol.send(message)
        self._flush()

    def _flush(self) -> None:
        for data in self._protocol.data_to_send():
            self._link.send(data)

    def _end(self, code: CloseCode, *, final: bool, abort: bool = False) -> None:
        self._gone = True
        self._registry.metrics.closes.labels(code.name.lower()).inc()
        self._registry.leave(self, final=final)
        self._link.close(code, abort=abort)
