"""What can go wrong on the client's side of a stream."""

from __future__ import annotations

from runtime.protocol.errors import CloseCode
from visionstack.errors import VisionstackError


class StreamError(VisionstackError):
    """Root of the streaming client's errors."""


class StreamUnreachableError(StreamError):
    """No server answered, for longer than the client was told to try."""


class StreamRefusedError(StreamError):
    """The server ended the stream in a way that trying again would not change."""

    def __init__(self, code: CloseCode, reason: str) -> None:
        super().__init__(f"The stream server refused: {reason}.", remedy=_REMEDIES.get(code))
        self.code = code


class FrameRefusedError(StreamError):
    """One frame got an error instead of detections."""


_REMEDIES = {
    CloseCode.WRONG_TOKEN: "Give the token that the server was started with (--token).",
    CloseCode.UNKNOWN_MODEL: "Name one of the models that it serves (--model), or none.",
    CloseCode.MESSAGE_TOO_LARGE: "Send a smaller picture, or compress it more.",
    CloseCode.UNSUPPORTED_VERSION: "Bring client and server to the same version of visionstack.",
}


class WindowClosedError(StreamError):
    """Whoever watched the stream has closed its window."""
