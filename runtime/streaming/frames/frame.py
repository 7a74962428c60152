"""One frame on its way through the server."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from runtime.protocol.errors import DropReason, FrameError
from runtime.protocol.messages import Detection, Frame

if TYPE_CHECKING:
    from runtime.streaming.frames.stream import StreamDecoder
    from runtime.streaming.models import LoadedModel


@dataclass(frozen=True, slots=True)
class Found:
    """Inference answered."""

    detections: tuple[Detection, ...]


@dataclass(frozen=True, slots=True)
class Unchanged:
    """The change gate saw nothing new: what was found before still holds."""


@dataclass(frozen=True, slots=True)
class Predicted:
    """Between two key frames: the tracker says where things are."""


Outcome = Found | Unchanged | Predicted | FrameError | DropReason


@dataclass(slots=True, eq=False)
class FrameJob:
    """A frame, what was made of it so far, and how long that took (microseconds).

    One thread has it at a time: the event loop's until it is submitted and once it has its outcome,
    between them the pipeline's thread whose step it is.
    """

    stream: StreamDecoder
    frame: Frame
    received: int
    model: LoadedModel
    """The model's version that was current when the frame arrived."""
    prepared: Any = field(default=None, repr=False)
    raw: Any = field(default=None, repr=False)
    width: int = 0
    height: int = 0
    decode: int = 0
    inference: int = 0
    post: int = 0
    batch: int = 0
    work: int = 0
    """Of a processor, for decoding; `decode` has the time that others took meanwhile as well."""
    ready_at: int = 0
    key: bool | None = None
    """Whether it is to be inferred; None until its decoding begins."""
    memory: int = 0
    """Bytes that decoding takes, where that is so much that it has to wait for its turn."""
    outcome: Outcome | None = None

    def release(self) -> int:
        """The frame has its outcome, which may be kept for long: its picture is not needed any
        more. Returns how many bytes it had."""
        size = len(self.frame.payload)
        self.frame = replace(self.frame, payload=b"")
        return size
