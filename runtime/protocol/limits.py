"""Every size, count and time that a client can choose has a limit, and the limit has a name."""

from __future__ import annotations

from dataclasses import dataclass

from runtime import contract

HANDSHAKE_BYTES = 8 * 1024
"""A hello is a few hundred bytes; before it is accepted nothing longer is read."""
FRAME_HEADER_BYTES = 24
LIGHT_BYTES = 64 * 1024 * 1024
"""A frame that takes less to be decoded (9 million pixels of a usual picture) does not wait."""
VIDEO_REFERENCE_BYTES = 184_320 * 384
"""Reference pictures of one H.264 stream: MaxDpbMbs of level 5.2 in macroblocks of 8 bits 4:2:0
(ITU-T H.264, table A-1): 5 pictures of 4096 x 2304, or one of 47 million pixels."""
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
    """Streams that are connected."""
    pending_handshakes: int = 512
    """Connections that have not shown a token yet; above it the oldest is closed."""
    pending_per_address: int = 256
    """Of these, from one address: an honest burst of a full server's streams gets in."""
    handshake_seconds: float = 5.0
    crowded_handshake_seconds: float = 1.0
    """The same while half the places of `pending_handshakes` are taken."""
    linger_seconds: float = 1.0
    """A closed connection whose other end does not read or answer is aborted after this long."""
    pings_per_second: float = 20.0
    ping_burst: int = 100
    """Pings of one connection at once; above both it is closed."""
    idle_seconds: float = 60.0
    """Without a message (a ping is one) for this long, the connection is closed."""
    message_seconds: float = 30.0
    """A message that began must be complete after this long."""
    stall_seconds: float = 20.0
    """A client that does not read its answers for this long is closed."""
    unsent_bytes: int = 1024 * 1024
    """Answers waiting for a slow reader; above it, nothing more is read from that client."""
    page_bytes: int = 32 * 1024 * 1024
    """Memory for the page's files on their way to all that asked for them, whom no token names;
    above it an asker is told to come back."""
    waiting_bytes: int = 256 * 1024 * 1024
    """Encoded frames of all streams in the server, those arriving included; above half of it, the
    heavy are not read."""
    session_waiting_bytes: int = 32 * 1024 * 1024
    """The same of one stream; above it, that stream is not read."""
    decoding_bytes: int = 640 * 1024 * 1024
    """Memory for pictures being decoded, those above `LIGHT_BYTES` of all streams together; those
    that find none left wait, and one that alone takes more is refused."""
    video_bytes: int = 1024 * 1024 * 1024
    """Memory for the reference pictures of all H.264 streams; a stream that finds none left is
    refused."""
    stuck_seconds: float = 30.0
    """A thread at one job for longer makes the server not ready; none is meant to reach a third."""
    stop_seconds: float = 5.0
    """The process ends this long after draining, whatever a thread is at."""
    sessions: int = 512
    """Streams, those waiting to resume included; above it the one that waits longest ends."""
    resume_seconds: float = 30.0
    """A lossless session whose connection was lost is kept this long."""
    drain_seconds: float = 20.0
    """After goaway, frames on their way are still answered for this long. Of a server that was
    started by hand: a deployed one is told (the setting `drain_seconds`)."""

    def memory_bytes(self, *, threads: int) -> int:
        """Most memory for frames, beyond what an idle server takes: arriving and waiting, decoded,
        references of video, and unsent answers, the page's among them."""
        decoding = self.decoding_bytes + threads * LIGHT_BYTES
        unsent = self.connections * self.unsent_bytes + self.page_bytes
        return self.waiting_bytes + decoding + self.video_bytes + unsent

    @property
    def descriptors(self) -> int:
        """Files that a full server has open: its connections, as many that linger, and its own."""
        return 2 * (self.connections + self.pending_handshakes) + 256

    @property
    def message_bytes(self) -> int:
        """Longest message after the handshake: a frame and its header."""
        return self.frame_bytes + FRAME_HEADER_BYTES
