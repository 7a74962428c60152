"""The messages of protocol version 1 and their bytes (docs/protocol.md has the same tables).

Rare messages carry JSON, which can grow; those sent for every frame are fixed binary layouts, which
a browser reads with a DataView and Python with `struct`. All numbers are in network order.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from enum import IntEnum, IntFlag
from typing import Any, ClassVar, TypeVar

from runtime.protocol import options as documents
from runtime.protocol.errors import CloseCode, DropReason, FrameErrorCode, ProtocolError
from runtime.protocol.framing import LONG_BYTES, Pieces
from runtime.protocol.limits import FRAME_HEADER_BYTES, REASON_BYTES

VERSION = 1
MAGIC = b"VSTK"


class Kind(IntEnum):
    """First byte of every message."""

    HELLO = 0x01
    WELCOME = 0x02
    FRAME = 0x10
    RESULT = 0x11
    DROPPED = 0x12
    FRAME_FAILED = 0x13
    MODEL = 0x14
    PING = 0x20
    PONG = 0x21
    GOAWAY = 0x30
    CLOSE = 0x31


class Encoding(IntEnum):
    UNKNOWN = 0
    """Stands for every number that is none of those below; such a frame fails alone."""
    JPEG = 1
    PNG = 2
    WEBP = 3
    BGR = 4
    """Rows of 8-bit blue, green, red; width and height are in the frame's header."""
    H264 = 5
    """One access unit in Annex B form; the decoder's state belongs to the stream."""


class ResultFlag(IntFlag):
    UNCHANGED = 1
    """The change gate skipped inference; the detections are those of the frame before."""
    PREDICTED = 2
    """Between two key frames: the tracker moved the boxes, no inference."""
    TRACKED = 4
    """Detections carry track ids."""


NO_FLAGS = ResultFlag(0)


def _text(data: bytes) -> str:
    return data[:REASON_BYTES].decode("utf-8", errors="replace")


def _text_bytes(text: str) -> bytes:
    return text.encode()[:REASON_BYTES]


@dataclass(frozen=True, slots=True)
class Hello:
    """Client to server, first: which versions it speaks, and what it wants."""

    options: documents.HelloOptions
    lowest: int = VERSION
    highest: int = VERSION

    HEADER: ClassVar = struct.Struct(">B4sBB")

    def encode(self) -> bytes:
        return self.HEADER.pack(Kind.HELLO, MAGIC, self.lowest, self.highest) + (
            self.options.to_json()
        )

    @classmethod
    def decode(cls, message: bytes) -> Hello:
        _, magic, lowest, highest = cls.HEADER.unpack_from(message)
        if magic != MAGIC:
            raise ProtocolError(CloseCode.PROTOCOL_ERROR, "the hello does not begin with VSTK")
        if not lowest <= VERSION <= highest:
            raise ProtocolError(
                CloseCode.UNSUPPORTED_VERSION,
                f"the client speaks versions {lowest} to {highest}, the server version {VERSION}",
            )
        return cls(documents.HelloOptions.from_json(message[cls.HEADER.size :]), lowest, highest)


@dataclass(frozen=True, slots=True)
class Welcome:
    """Server to client: the stream is open; what serves it and what is allowed."""

    offer: documents.WelcomeOffer
    version: int = VERSION

    HEADER: ClassVar = struct.Struct(">BB")

    def encode(self) -> bytes:
        return self.HEADER.pack(Kind.WELCOME, self.version) + self.offer.to_json()

    @classmethod
    def decode(cls, message: bytes) -> Welcome:
        _, version = cls.HEADER.unpack_from(message)
        if version != VERSION:
            raise ProtocolError(CloseCode.UNSUPPORTED_VERSION, f"the server speaks {version}")
        return cls(documents.WelcomeOffer.from_json(message[cls.HEADER.size :]), version)


@dataclass(frozen=True, slots=True)
class Frame:
    """Client to server: one picture. `captured` is the client's clock in microseconds.

    `width` and `height` are given for BGR only and 0 otherwise. The payload of a long message stays
    in the pieces in which it came until `bytes(payload)`.
    """

    sequence: int
    captured: int
    encoding: Encoding
    payload: bytes | Pieces = field(repr=False)
    width: int = 0
    height: int = 0

    HEADER: ClassVar = struct.Struct(">BBHHHQQ")

    def encode(self) -> bytes:
        header = self.HEADER.pack(
            Kind.FRAME, self.encoding, self.width, self.height, 0, self.sequence, self.captured
        )
        return b"".join((header, bytes(self.payload)))

    @classmethod
    def decode(cls, message: bytes | Pieces) -> Frame:
        if isinstance(message, bytes) and len(message) > LONG_BYTES:
            message = Pieces((memoryview(message),))
        header: bytes
        payload: bytes | Pieces
        if isinstance(message, Pieces):
            header, payload = message.split(FRAME_HEADER_BYTES)
        else:
            header, payload = message, message[FRAME_HEADER_BYTES:]
        _, encoding, width, height, _, sequence, captured = cls.HEADER.unpack_from(header)
        try:
            kind = Encoding(encoding)
        except ValueError:
            kind = Encoding.UNKNOWN
        return cls(sequence, captured, kind, payload, width, height)


@dataclass(frozen=True, slots=True)
class Detection:
    """Box (x1, y1, x2, y2) in pixels of the source; `track` is -1 without tracking."""

    class_id: int
    confidence: float
    box: tuple[float, float, float, float]
    track: int = -1


@dataclass(frozen=True, slots=True)
class Timing:
    """Where a frame's time in the server went, microseconds; `queue` is all the waiting."""

    received: int = 0
    """Server clock when the frame's last byte had arrived."""
    sent: int = 0
    """Server clock when the answer was handed to the connection."""
    decode: int = 0
    queue: int = 0
    inference: int = 0
    post: int = 0
    batch: int = 0
    """Frames in the batch that this one was inferred in; 0 without inference."""


@dataclass(frozen=True, slots=True)
class Result:
    """Server to client: what was found in one frame. Width and height are the source's pixels."""

    sequence: int
    width: int
    height: int
    timing: Timing
    detections: tuple[Detection, ...] = ()
    flags: ResultFlag = NO_FLAGS
    revision: int = 0
    """Counts up when the server loads a newer version of the model in mid-stream."""

    HEADER: ClassVar = struct.Struct(">BBHHHQQQIIIIHH")
    DETECTION: ClassVar = struct.Struct(">5fHi")

    def encode(self) -> bytes:
        timing = self.timing
        parts = [
            self.HEADER.pack(
                Kind.RESULT,
                self.flags,
                len(self.detections),
                self.width,
                self.height,
                self.sequence,
                timing.received,
                timing.sent,
                timing.decode,
                timing.queue,
                timing.inference,
                timing.post,
                timing.batch,
                self.revision,
            )
        ]
        pack = self.DETECTION.pack
        parts += [pack(*d.box, d.confidence, d.class_id, d.track) for d in self.detections]
        return b"".join(parts)

    @classmethod
    def decode(cls, message: bytes) -> Result:
        (
            _,
            flags,
            count,
            width,
            height,
            sequence,
            received,
            sent,
            decode_us,
            queue,
            inference,
            post,
            batch,
            revision,
        ) = cls.HEADER.unpack_from(message)
        if len(message) != cls.HEADER.size + count * cls.DETECTION.size:
            raise ProtocolError(CloseCode.PROTOCOL_ERROR, f"a result not of {count} detections")
        detections = tuple(
            Detection(class_id, confidence, (x1, y1, x2, y2), track)
            for x1, y1, x2, y2, confidence, class_id, track in cls.DETECTION.iter_unpack(
                message[cls.HEADER.size :]
            )
        )
        timing = Timing(received, sent, decode_us, queue, inference, post, batch)
        return cls(sequence, width, height, timing, detections, ResultFlag(flags & 0b111), revision)


@dataclass(frozen=True, slots=True)
class Dropped:
    """Server to client: these frames of a live stream were not looked at."""

    sequences: tuple[int, ...]
    reason: DropReason = DropReason.NEWER_FRAME

    HEADER: ClassVar = struct.Struct(">BBH")

    def encode(self) -> bytes:
        count = len(self.sequences)
        return self.HEADER.pack(Kind.DROPPED, self.reason, count) + struct.pack(
            f">{count}Q", *self.sequences
        )

    @classmethod
    def decode(cls, message: bytes) -> Dropped:
        _, reason, count = cls.HEADER.unpack_from(message)
        if len(message) != cls.HEADER.size + 8 * count:
            raise ProtocolError(CloseCode.PROTOCOL_ERROR, f"a drop report not of {count} frames")
        sequences = struct.unpack_from(f">{count}Q", message, cls.HEADER.size)
        return cls(sequences, _member(DropReason, reason))


@dataclass(frozen=True, slots=True)
class FrameFailed:
    """Server to client: this frame has no detections, and why. The stream goes on."""

    sequence: int
    code: FrameErrorCode
    reason: str

    HEADER: ClassVar = struct.Struct(">BBQ")

    def encode(self) -> bytes:
        return self.HEADER.pack(Kind.FRAME_FAILED, self.code, self.sequence) + _text_bytes(
            self.reason
        )

    @classmethod
    def decode(cls, message: bytes) -> FrameFailed:
        _, code, sequence = cls.HEADER.unpack_from(message)
        return cls(sequence, _member(FrameErrorCode, code), _text(message[cls.HEADER.size :]))


@dataclass(frozen=True, slots=True)
class Model:
    """Server to client: what answers the results of this revision, before the first of them.

    Only to a client that asked for it (`HelloOptions.model_changes`). The revision that the welcome
    names needs none.
    """

    revision: int
    offer: documents.ModelOffer

    HEADER: ClassVar = struct.Struct(">BH")

    def encode(self) -> bytes:
        return self.HEADER.pack(Kind.MODEL, self.revision) + self.offer.to_json()

    @classmethod
    def decode(cls, message: bytes) -> Model:
        _, revision = cls.HEADER.unpack_from(message)
        return cls(revision, documents.ModelOffer.from_json(message[cls.HEADER.size :]))


@dataclass(frozen=True, slots=True)
class Ping:
    """Client to server; `sent` is the client's clock in microseconds."""

    sent: int

    HEADER: ClassVar = struct.Struct(">BQ")

    def encode(self) -> bytes:
        return self.HEADER.pack(Kind.PING, self.sent)

    @classmethod
    def decode(cls, message: bytes) -> Ping:
        return cls(cls.HEADER.unpack(message)[1])


@dataclass(frozen=True, slots=True)
class Pong:
    """Server to client: the ping's `sent`, and the server's clock at its coming and going."""

    sent: int
    received: int
    answered: int

    HEADER: ClassVar = struct.Struct(">BQQQ")

    def encode(self) -> bytes:
        return self.HEADER.pack(Kind.PONG, self.sent, self.received, self.answered)

    @classmethod
    def decode(cls, message: bytes) -> Pong:
        return cls(*cls.HEADER.unpack(message)[1:])


@dataclass(frozen=True, slots=True)
class GoAway:
    """Server to client: send no more frames here; those on their way are answered until then."""

    deadline_ms: int
    reason: str

    HEADER: ClassVar = struct.Struct(">BI")

    def encode(self) -> bytes:
        return self.HEADER.pack(Kind.GOAWAY, self.deadline_ms) + _text_bytes(self.reason)

    @classmethod
    def decode(cls, message: bytes) -> GoAway:
        _, deadline = cls.HEADER.unpack_from(message)
        return cls(deadline, _text(message[cls.HEADER.size :]))


@dataclass(frozen=True, slots=True)
class Close:
    """Either end, last."""

    code: CloseCode
    reason: str = ""

    HEADER: ClassVar = struct.Struct(">BH")

    def encode(self) -> bytes:
        return self.HEADER.pack(Kind.CLOSE, self.code) + _text_bytes(self.reason)

    @classmethod
    def decode(cls, message: bytes) -> Close:
        _, code = cls.HEADER.unpack_from(message)
        return cls(_member(CloseCode, code), _text(message[cls.HEADER.size :]))


Message = (
    Hello | Welcome | Frame | Result | Dropped | FrameFailed | Model | Ping | Pong | GoAway | Close
)

E = TypeVar("E", bound=IntEnum)

_DECODERS: dict[int, Any] = {
    Kind.HELLO: Hello,
    Kind.WELCOME: Welcome,
    Kind.FRAME: Frame,
    Kind.RESULT: Result,
    Kind.DROPPED: Dropped,
    Kind.FRAME_FAILED: FrameFailed,
    Kind.MODEL: Model,
    Kind.PING: Ping,
    Kind.PONG: Pong,
    Kind.GOAWAY: GoAway,
    Kind.CLOSE: Close,
}


def _member(kind: type[E], value: int) -> E:
    try:
        return kind(value)
    except ValueError:
        raise ProtocolError(CloseCode.PROTOCOL_ERROR, f"{value} is no {kind.__name__}") from None


def decode(message: bytes | Pieces) -> Message:
    """Read one message. Raises ProtocolError for anything that is not one, never anything else."""
    if isinstance(message, Pieces):
        if message.split(1)[0] == bytes((Kind.FRAME,)):
            return Frame.decode(message)
        message = bytes(message)
    decoder = _DECODERS.get(message[0]) if message else None
    if decoder is None:
        raise ProtocolError(
            CloseCode.PROTOCOL_ERROR, f"no message begins with {message[:1].hex() or 'nothing'}"
        )
    try:
        decoded: Message = decoder.decode(message)
    except struct.error as error:
        raise ProtocolError(
            CloseCode.PROTOCOL_ERROR, f"a {decoder.__name__} of {len(message)} bytes"
        ) from error
    return decoded
