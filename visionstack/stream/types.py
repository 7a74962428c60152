"""What a stream client gives to its user."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, Protocol


class EndpointLike(Protocol):
    """Where a server listens, as `visionstack.cloud.deployment.StreamEndpoint` says it."""

    @property
    def host(self) -> str: ...
    @property
    def port(self) -> int: ...
    @property
    def token(self) -> str: ...
    @property
    def fingerprint(self) -> str | None: ...


@dataclass(frozen=True, slots=True)
class StreamAddress:
    """An endpoint given by hand.

    With a `fingerprint` (SHA-256 of the certificate in hex) exactly that certificate is accepted.
    Without one the connection is plain on loopback, and elsewhere TLS with a certificate that the
    machine trusts.
    """

    host: str
    port: int
    token: str = field(repr=False)
    fingerprint: str | None = None


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """What serves the stream."""

    model: str
    version: str
    engine: str
    precision: str
    device: str
    weights_trained: bool
    weights: str
    """Where the weights come from; random ones say so."""
    labels: tuple[str, ...] = field(repr=False)
    window: int
    """Frames that may be under way at once."""
    frame_bytes: int
    session: str
    resumed: bool
    server: str


@dataclass(frozen=True, slots=True)
class StreamDetection:
    """One object: box = (x1, y1, x2, y2) in pixels of the picture that was sent."""

    label: str
    class_id: int
    confidence: float
    box: tuple[float, float, float, float]
    track: int | None = None
    """The same number for the same object from frame to frame, with tracking."""


@dataclass(frozen=True, slots=True)
class Latency:
    """Where the time between capture and result went, in milliseconds.

    `uplink` and `downlink` need the two clocks' offset, known to `clock_error` (half the shortest
    ping); the sum of all parts is `total`, which needs only the client's clock.
    """

    total: float
    uplink: float
    decode: float
    queue: float
    inference: float
    post: float
    downlink: float
    clock_error: float


@dataclass(frozen=True, slots=True)
class StreamResult:
    """The detections in one frame."""

    sequence: int
    width: int
    height: int
    detections: tuple[StreamDetection, ...]
    latency: Latency
    batch: int
    """Frames inferred together with this one, itself included; 0 when inference was skipped."""
    unchanged: bool
    """The change gate skipped inference: these are the detections of the frame before."""
    predicted: bool
    """The tracker moved the boxes between two inferred frames."""
    revision: int
    """Counts up when the server goes over to a newer version of the model."""
    version: str
    """Of the model that looked at this frame; its labels are those of the detections."""
    context: Any = None
    """What was given to `send` with this frame."""


@dataclass(frozen=True, slots=True)
class DroppedFrame:
    """A frame of a live stream that was not looked at, and where it was dropped."""

    sequence: int
    where: Literal["client", "server", "connection"]
    context: Any = None


@dataclass(frozen=True, slots=True)
class FailedFrame:
    """A frame without detections, and why; the stream goes on."""

    sequence: int
    code: str
    reason: str
    context: Any = None


Answer = StreamResult | DroppedFrame | FailedFrame


@dataclass(slots=True)
class StreamCounts:
    """What became of the frames so far."""

    submitted: int = 0
    results: int = 0
    failed: int = 0
    dropped_client: int = 0
    dropped_server: int = 0
    dropped_connection: int = 0
    connections: int = 0
    """1, and one more for each reconnect."""
    bytes_sent: int = field(default=0, compare=False)
    """Of pictures, as they were encoded; sent again over another connection, counted again."""

    @property
    def dropped(self) -> int:
        return self.dropped_client + self.dropped_server + self.dropped_connection
