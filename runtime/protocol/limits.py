"""Every size, count and time that a client can choose has a limit, and the limit has a name."""

from __future__ import annotations

from dataclasses import dataclass

from runtime import contract

HANDSHAKE_BYTES = 8 * 1024
"""A hello is a few hundred bytes; before it is accepted nothing longer is read."""
FRAME_HEADER_BYTES = 24
REASON_BYTES = 1024
"""Longest text in a close, goaway or frame error."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What one server allows. Finite by default; times in seconds."""

    frame_bytes: int = contract.MAX_PICTURE_BYTES
    """Encoded bytes of one frame."""
    frame_pixels: int = contract.MAX_PICTURE_PIXELS
    """Width times height, read from the picture's header before anything is decoded."""
    window: int = 8
    """Frames of one stream that may be unanswered at any time."""
    connections: int = 256
    pending_handshakes: int = 64
    """Connections that have not shown a token yet."""
    handshake_seconds: float = 5.0
    idle_seconds: float = 60.0
    """Without a message (a ping is one) for this long, the connection is closed."""
    message_seconds: float = 30.0
    """A message that began must be complete after this long."""
    stall_seconds: float = 20.0
    """A client that does not read its answers for this long is closed."""
    unsent_bytes: int = 1024 * 1024
    """Answers waiting for a slow reader; above it, nothing more is read from that client."""
    waiting_bytes: int = 256 * 1024 * 1024
    """Encoded frames of all streams waiting in the server; above it, reading pauses."""
    sessions: int = 512
    resume_seconds: float = 30.0
    """A lossless session whose connection was lost is kept this long."""
    drain_seconds: float = 20.0
    """After goaway, frames on their way are still answered for this long."""

    @property
    def message_bytes(self) -> int:
        """Longest message after the handshake: a frame and its header."""
        return self.frame_bytes + FRAME_HEADER_BYTES
