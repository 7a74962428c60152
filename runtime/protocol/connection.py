"""One connection without a socket, from either end: the only maker and reader of its bytes.

What a transport has received goes into `receive_data` and comes out of `events`; what is handed to
`send` comes out of `data_to_send` (as h11 and websockets have it). Messages out of turn, above a
limit or without a credit are a ProtocolError, whichever end they come from.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum

from runtime.protocol import messages
from runtime.protocol.errors import CloseCode, ProtocolError
from runtime.protocol.framing import LengthPrefixed, Whole
from runtime.protocol.limits import HANDSHAKE_BYTES, Limits
from runtime.protocol.messages import (
    Close,
    Dropped,
    Frame,
    FrameFailed,
    GoAway,
    Hello,
    Message,
    Model,
    Ping,
    Pong,
    Result,
    Welcome,
)


class Role(StrEnum):
    CLIENT = "client"
    SERVER = "server"


class State(StrEnum):
    NEW = "new"
    GREETED = "greeted"
    """The client has said hello, the server has not welcomed it yet."""
    OPEN = "open"
    CLOSED = "closed"


_MAY_SAY: dict[Role, dict[State, tuple[type[Message], ...]]] = {
    Role.CLIENT: {
        State.NEW: (Hello, Close),
        State.GREETED: (Close,),
        State.OPEN: (Frame, Ping, Close),
        State.CLOSED: (),
    },
    Role.SERVER: {
        State.NEW: (Close,),
        State.GREETED: (Welcome, Close),
        State.OPEN: (Result, Dropped, FrameFailed, Model, Pong, GoAway, Close),
        State.CLOSED: (),
    },
}


class StreamProtocol:
    """The end of one connection that has this `role`; `limits` are for what arrives."""

    def __init__(
        self,
        role: Role,
        *,
        framing: LengthPrefixed | Whole | None = None,
        limits: Limits | None = None,
    ) -> None:
        self.role = role
        self.state = State.NEW
        self.unanswered = 0
        """Frames sent and not answered on this connection."""
        self.leaving = False
        """Whether the server has said goaway: no more frames are to be sent here."""
        self._other = Role.SERVER if role is Role.CLIENT else Role.CLIENT
        self._framing = framing or LengthPrefixed()
        self._limits = limits or Limits()
        self._window = 0
        self._first = 0
        self._outgoing: list[bytes] = []

    @property
    def message_limit(self) -> int:
        """Longest message the other end may send now, in bytes."""
        if self.state is State.OPEN or self.role is Role.CLIENT:
            return self._limits.message_bytes
        return HANDSHAKE_BYTES

    @property
    def partial(self) -> bool:
        """Whether a message has begun to arrive and is not complete."""
        return self._framing.partial

    @property
    def partial_bytes(self) -> int:
        """How much of a message that is not complete has arrived."""
        return self._framing.partial_bytes

    @property
    def credits(self) -> int:
        """Frames that may be sent now."""
        open_ = self.state is State.OPEN and not self.leaving
        return self._window - self.unanswered if open_ else 0

    def receive_data(self, data: bytes) -> None:
        """Take what arrived: of a byte stream any piece, else one whole message."""
        if self.state is not State.CLOSED:
            self._framing.feed(data)

    def events(self) -> Iterator[Message]:
        """The messages that have arrived since, none after a close by either end.

        Raises ProtocolError with the code that the connection must be closed with.
        """
        while self.state is not State.CLOSED:
            message = self._framing.next(limit=self.message_limit)
            if message is None:
                return
            decoded = messages.decode(message)
            self._follow(decoded, self._other)
            yield decoded

    def send(self, message: Message) -> None:
        """Raises ProtocolError when it is not its turn; a frame needs a credit."""
        self._follow(message, self.role)
        self._outgoing.append(self._framing.wrap(message.encode()))

    def close(self, code: CloseCode, reason: str = "") -> None:
        """Send the last message, unless either end already has."""
        if self.state is not State.CLOSED:
            self.send(Close(code, reason))

    def data_to_send(self) -> list[bytes]:
        """What is to be handed to the transport now, a message each."""
        data, self._outgoing = self._outgoing, []
        return data

    def _follow(self, message: Message, speaker: Role) -> None:
        """Both ends keep the same account of what was said."""
        if type(message) not in _MAY_SAY[speaker][self.state]:
            raise ProtocolError(
                CloseCode.PROTOCOL_ERROR,
                f"a {type(message).__name__} by the {speaker} in state {self.state}",
            )
        match message:
            case Frame():
                if self.unanswered >= self._window:
                    raise ProtocolError(
                        CloseCode.CREDIT_EXCEEDED,
                        f"more than {self._window} frames without an answer",
                    )
                self.unanswered += 1
            case Result() | FrameFailed():
                self._answered(1)
            case Dropped(sequences):
                self._answered(len(sequences))
            case Hello(options):
                self.state = State.GREETED
                self._first = options.next_sequence
            case Welcome(offer):
                self.state = State.OPEN
                self._window = offer.window
                # Of a resumed stream those before `next_sequence` are with the server.
                self.unanswered = max(0, offer.next_sequence - self._first)
            case GoAway():
                self.leaving = True
            case Close():
                self.state = State.CLOSED

    def _answered(self, frames: int) -> None:
        if frames > self.unanswered:
            raise ProtocolError(CloseCode.PROTOCOL_ERROR, "more answers than frames")
        self.unanswered -= frames
