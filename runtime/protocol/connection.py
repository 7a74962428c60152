"""Either end of one connection, without a socket: states, order of messages, credits.

`receive` takes one whole message and returns it decoded, or raises ProtocolError with the code that
the connection must be closed with. The `send_*` methods return the bytes of one message. Shells
(`tcp`, `websocket`, the client) move those bytes and nothing else.
"""

from __future__ import annotations

from enum import Enum

from runtime.protocol import messages
from runtime.protocol.errors import CloseCode, ProtocolError
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
from runtime.protocol.options import HelloOptions, WelcomeOffer


class State(Enum):
    HANDSHAKE = "handshake"
    OPEN = "open"
    CLOSED = "closed"


class _Connection:
    def __init__(self) -> None:
        self.state = State.HANDSHAKE
        self.closed_by: Close | None = None
        """The close message that ended the connection, from whichever end."""

    def send_close(self, code: CloseCode, reason: str = "") -> bytes:
        self.state = State.CLOSED
        self.closed_by = self.closed_by or Close(code, reason)
        return Close(code, reason).encode()

    def _decode(self, message: bytes, *, limit: int) -> Message:
        if self.state is State.CLOSED:
            raise ProtocolError(CloseCode.PROTOCOL_ERROR, "a message after the close")
        if len(message) > limit:
            raise ProtocolError(
                CloseCode.MESSAGE_TOO_LARGE,
                f"a message of {len(message)} bytes where {limit} are allowed",
            )
        decoded = messages.decode(message)
        if isinstance(decoded, Close):
            self.state = State.CLOSED
            self.closed_by = decoded
        return decoded

    def _unexpected(self, message: Message) -> ProtocolError:
        return ProtocolError(
            CloseCode.PROTOCOL_ERROR,
            f"a {type(message).__name__} in state {self.state.value}",
        )


class ServerConnection(_Connection):
    """The server's end."""

    def __init__(self, *, limits: Limits) -> None:
        super().__init__()
        self.limits = limits
        self.unanswered = 0
        """Frames taken and not answered on this connection."""

    @property
    def message_limit(self) -> int:
        """Longest message the client may send now, in bytes."""
        return HANDSHAKE_BYTES if self.state is State.HANDSHAKE else self.limits.message_bytes

    def receive(self, message: bytes) -> Hello | Frame | Ping | Close:
        decoded = self._decode(message, limit=self.message_limit)
        match decoded:
            case Frame() if self.state is State.OPEN:
                if self.unanswered >= self.limits.window:
                    raise ProtocolError(
                        CloseCode.CREDIT_EXCEEDED,
                        f"more than {self.limits.window} frames without an answer",
                    )
                self.unanswered += 1
                return decoded
            case Ping() if self.state is State.OPEN:
                return decoded
            case Hello() if self.state is State.HANDSHAKE:
                return decoded
            case Close():
                return decoded
            case _:
                raise self._unexpected(decoded)

    def send_welcome(self, offer: WelcomeOffer, *, unanswered: int = 0) -> bytes:
        """Open the stream; `unanswered` frames of a resumed session are still under way."""
        self.state = State.OPEN
        self.unanswered = unanswered
        return Welcome(offer).encode()

    def note_answered(self, frames: int) -> None:
        """Answers to so many frames were sent; the client has that many credits more."""
        self.unanswered -= frames


class ClientConnection(_Connection):
    """The client's end."""

    def __init__(self) -> None:
        super().__init__()
        self.offer: WelcomeOffer | None = None
        self.unanswered = 0
        self.leaving: GoAway | None = None
        """Set when the server has said goaway: send no more frames here."""

    @property
    def credits(self) -> int:
        """Frames that may be sent now."""
        if self.offer is None or self.leaving is not None or self.state is not State.OPEN:
            return 0
        return self.offer.window - self.unanswered

    def send_hello(self, options: HelloOptions) -> bytes:
        return Hello(options).encode()

    def send_frame(self, frame: Frame) -> bytes:
        """Raises ProtocolError when there is no credit left: wait for an answer first."""
        if self.credits < 1:
            raise ProtocolError(CloseCode.CREDIT_EXCEEDED, "no credit left for another frame")
        self.unanswered += 1
        return frame.encode()

    def receive(
        self, message: bytes
    ) -> Welcome | Result | Dropped | FrameFailed | Model | Pong | GoAway | Close:
        decoded = self._decode(message, limit=Limits().message_bytes)
        match decoded:
            case Welcome(offer=offer) if self.state is State.HANDSHAKE:
                self.state = State.OPEN
                self.offer = offer
            case Result() | FrameFailed() if self.state is State.OPEN:
                self.unanswered -= 1
            case Dropped() if self.state is State.OPEN:
                self.unanswered -= len(decoded.sequences)
            case GoAway() if self.state is State.OPEN:
                self.leaving = decoded
            case Pong() | Model() if self.state is State.OPEN:
                pass
            case Close():
                pass
            case _:
                raise self._unexpected(decoded)
        return decoded
