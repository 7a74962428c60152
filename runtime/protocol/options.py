"""The JSON inside a hello and a welcome, checked field by field.

Unknown fields are ignored, so that a newer client can talk to an older server; a known field of the
wrong type or outside its range is refused by name.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any, get_args

from runtime.contract import DETECT_CONFIDENCE, DETECT_IOU, MAX_KEY_INTERVAL, StreamPolicy
from runtime.protocol.errors import CloseCode, ProtocolError

_LARGEST_WINDOW = 65_535


def _load(data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(CloseCode.PROTOCOL_ERROR, f"not JSON: {error}") from None
    if not isinstance(value, dict):
        raise ProtocolError(CloseCode.PROTOCOL_ERROR, "the JSON is not an object")
    return value


def _dump(value: dict[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _bad(name: str, value: object, allowed: str) -> ProtocolError:
    shown = "not shown here" if name == "token" else f"{value!r:.80}"
    return ProtocolError(CloseCode.BAD_OPTION, f"{name} is {shown}, allowed is {allowed}")


def _text(fields: dict[str, Any], name: str, default: str | None, *, longest: int = 256) -> str:
    value = fields.get(name, default)
    if not isinstance(value, str) or len(value) > longest:
        raise _bad(name, value, f"text of up to {longest} characters")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise _bad(name, value, "text, not half of a surrogate pair") from None
    return value


def _whole(fields: dict[str, Any], name: str, default: int | None, *, low: int, high: int) -> int:
    value = fields.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise _bad(name, value, f"a whole number from {low} to {high}")
    return value


def _share(fields: dict[str, Any], name: str, default: float) -> float:
    value = fields.get(name, default)
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= 1:
        raise _bad(name, value, "a number from 0 to 1")
    return float(value)


def _flag(fields: dict[str, Any], name: str, default: bool | None) -> bool:
    value = fields.get(name, default)
    if not isinstance(value, bool):
        raise _bad(name, value, "true or false")
    return value


def _seconds(fields: dict[str, Any], name: str) -> float:
    value = fields.get(name)
    # What is not a number (NaN) is not in this range either.
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= 1e9:
        raise _bad(name, value, "a number of seconds")
    return value


@dataclass(frozen=True, kw_only=True, slots=True)
class HelloOptions:
    """What the client wants of its stream."""

    token: str = field(repr=False)
    policy: str = "live"
    model: str = ""
    """Empty: the server's first model."""
    confidence: float = DETECT_CONFIDENCE
    iou: float = DETECT_IOU
    """Overlap above which non-maximum suppression drops the less certain box."""
    gate: float | None = None
    """Change gate: share of the picture that may change without a frame being inferred."""
    track: bool = False
    key_interval: int = 1
    """With tracking: infer every so many frames, predict those between."""
    next_sequence: int = 0
    """Sequence number of the first frame that has no answer yet."""
    session: str = ""
    """Session to resume; empty for a new one."""
    connection: int = 0
    """Which connection of this stream it is, counted by the client. One that comes after a later
    one was held up on its way: the client has given it up."""
    client: str = ""
    model_changes: bool = False
    """The client understands a MODEL message, and wants one when the version changes."""

    def to_json(self) -> bytes:
        return _dump(asdict(self))

    @classmethod
    def from_json(cls, data: bytes) -> HelloOptions:
        fields = _load(data)
        policy = _text(fields, "policy", "live")
        if policy not in get_args(StreamPolicy):
            raise _bad("policy", policy, " or ".join(get_args(StreamPolicy)))
        return cls(
            token=_text(fields, "token", "", longest=1024),
            policy=policy,
            model=_text(fields, "model", ""),
            confidence=_share(fields, "confidence", DETECT_CONFIDENCE),
            iou=_share(fields, "iou", DETECT_IOU),
            gate=None if fields.get("gate") is None else _share(fields, "gate", 0.0),
            track=_flag(fields, "track", False),
            key_interval=_whole(fields, "key_interval", 1, low=1, high=MAX_KEY_INTERVAL),
            next_sequence=_whole(fields, "next_sequence", 0, low=0, high=2**62),
            session=_text(fields, "session", ""),
            connection=_whole(fields, "connection", 0, low=0, high=2**31),
            client=_text(fields, "client", ""),
            model_changes=_flag(fields, "model_changes", False),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelOffer:
    """The model that serves the stream, and on what."""

    name: str
    version: str
    weights_trained: bool
    weights: str
    """Where the weights come from, in words; random ones say so."""
    engine: str
    precision: str
    device: str
    labels: tuple[str, ...]

    def to_json(self) -> bytes:
        return _dump(asdict(self))

    @classmethod
    def from_json(cls, data: bytes) -> ModelOffer:
        """Raises ProtocolError that names a field that is missing or of a wrong type."""
        try:
            return _model(_load(data))
        except ProtocolError as error:
            raise ProtocolError(CloseCode.PROTOCOL_ERROR, f"the model's {error.reason}") from None


@dataclass(frozen=True, kw_only=True, slots=True)
class WelcomeOffer:
    """What the server grants."""

    session: str
    resumed: bool
    next_sequence: int
    """The frame the server wants next; the client sends it and all after it."""
    window: int
    """Frames that may be unanswered at any time (the credit)."""
    frame_bytes: int
    frame_pixels: int
    idle_seconds: float
    resume_seconds: float
    server: str
    model: ModelOffer
    revision: int = 0
    """Of the model: results of this revision are its."""
    server_id: str = ""
    """Of the server's process, another after each start: whoever meets it again knows that it was
    not lost. Empty where the server does not tell."""

    def to_json(self) -> bytes:
        return _dump(asdict(self))

    @classmethod
    def from_json(cls, data: bytes) -> WelcomeOffer:
        """Raises ProtocolError that names a field that is missing, of a wrong type or range."""
        fields = _load(data)
        try:
            return cls(
                session=_text(fields, "session", None),
                resumed=_flag(fields, "resumed", None),
                next_sequence=_whole(fields, "next_sequence", None, low=0, high=2**62),
                window=_whole(fields, "window", None, low=1, high=_LARGEST_WINDOW),
                frame_bytes=_whole(fields, "frame_bytes", None, low=1, high=2**32),
                frame_pixels=_whole(fields, "frame_pixels", None, low=1, high=2**62),
                idle_seconds=_seconds(fields, "idle_seconds"),
                resume_seconds=_seconds(fields, "resume_seconds"),
                server=_text(fields, "server", None),
                model=_model(fields.get("model")),
                revision=_whole(fields, "revision", 0, low=0, high=2**16 - 1),
                server_id=_text(fields, "server_id", ""),
            )
        except ProtocolError as error:
            raise ProtocolError(CloseCode.PROTOCOL_ERROR, f"the welcome's {error.reason}") from None


def _model(value: object) -> ModelOffer:
    if not isinstance(value, dict):
        raise _bad("model", value, "an object")
    labels = value.get("labels")
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        raise _bad("labels", labels, "a list of texts")
    return ModelOffer(
        name=_text(value, "name", None),
        version=_text(value, "version", None),
        weights_trained=_flag(value, "weights_trained", None),
        weights=_text(value, "weights", None, longest=4096),
        engine=_text(value, "engine", None),
        precision=_text(value, "precision", None),
        device=_text(value, "device", None),
        labels=tuple(labels),
    )
