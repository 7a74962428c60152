"""What can go wrong on a connection, and its codes on the wire."""

from __future__ import annotations

from enum import IntEnum


class CloseCode(IntEnum):
    """Why a connection ends. The numbers are also WebSocket close codes (4000 to 4999 are free)."""

    NORMAL = 4000
    PROTOCOL_ERROR = 4001
    UNSUPPORTED_VERSION = 4002
    WRONG_TOKEN = 4003
    UNKNOWN_MODEL = 4004
    BAD_OPTION = 4005
    HANDSHAKE_TIMEOUT = 4006
    IDLE_TIMEOUT = 4007
    TOO_MANY_CONNECTIONS = 4008
    MESSAGE_TOO_LARGE = 4009
    CREDIT_EXCEEDED = 4010
    SLOW_READER = 4011
    GOING_AWAY = 4012
    TAKEN_OVER = 4013
    INTERNAL_ERROR = 4014


RETRYABLE = frozenset(
    {
        CloseCode.IDLE_TIMEOUT,
        CloseCode.TOO_MANY_CONNECTIONS,
        CloseCode.HANDSHAKE_TIMEOUT,
        CloseCode.SLOW_READER,
        CloseCode.GOING_AWAY,
        CloseCode.INTERNAL_ERROR,
    }
)
"""Codes after which the same client may try again; the others would end the same way."""


class FrameErrorCode(IntEnum):
    """Why one frame has no detections; the stream goes on."""

    UNDECODABLE = 1
    TOO_MANY_PIXELS = 2
    UNSUPPORTED_ENCODING = 3
    SIZE_MISMATCH = 4
    ENGINE_FAILED = 5
    NEEDS_KEYFRAME = 6


class DropReason(IntEnum):
    """Why a frame of a live stream was not looked at."""

    NEWER_FRAME = 1
    GOING_AWAY = 2


class StreamingError(Exception):
    """Root of this package's errors."""


class ProtocolError(StreamingError):
    """The other end broke the protocol; the connection ends with `code`."""

    def __init__(self, code: CloseCode, reason: str) -> None:
        super().__init__(f"{reason} ({code.name.lower()}, {code:d})")
        self.code = code
        self.reason = reason


class FrameError(StreamingError):
    """One frame cannot be answered with detections."""

    def __init__(self, code: FrameErrorCode, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason
