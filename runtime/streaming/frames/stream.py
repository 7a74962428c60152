"""What decoding a stream remembers from one of its frames to the next."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from runtime.inference.pictures import Picture, Reduction
from runtime.protocol.limits import LIGHT_BYTES
from runtime.protocol.messages import Encoding, Frame
from runtime.streaming.frames.decoding import decode_picture
from runtime.streaming.frames.video import VideoDecoder
from runtime.streaming.memory import MemoryBudget
from runtime.streaming.models import LoadedModel, ModelHost


class Gate(Protocol):
    """`runtime.inference.changes.ChangeGate`."""

    def unchanged(self, frame: NDArray[np.uint8]) -> bool: ...
    def forget(self) -> None:
        """May be called from any thread, also during `unchanged`."""
        ...


class StreamDecoder:
    """One stream's state between frames: its video decoder, change gate and key frames.

    It knows nothing of answers; those are `runtime.streaming.sessions.answers.Session`'s, which
    makes one of these and names it in every frame's job. From where its methods may be called:

    - with the pipeline's lock held: `expect`, `close`, `slow_until`, and reading `serial` and
      `newest_wins`;
    - from one of the pipeline's threads, for the frame that the scheduler gave it to decode:
      `next_is_key`, `picture`, `unchanged`, `video` and `size`. Where the stream is `serial` the
      scheduler gives out one frame at a time. Two threads in the stream's state at once, or `close`
      meanwhile, is a RuntimeError;
    - from any thread: `forget_reference`, and the attributes that never change.

    confidence: from where on detections are asked of the detector, 0 to 1.
    iou: overlap above which the detector takes two boxes for one object, 0 to 1.
    newest_wins: a frame that waits to be decoded is dropped for a newer one.
    key_interval: every so many frames one is inferred; None infers all.
    """

    def __init__(
        self,
        host: ModelHost,
        *,
        confidence: float,
        iou: float,
        newest_wins: bool = False,
        gate: Gate | None = None,
        key_interval: int | None = None,
    ) -> None:
        self.host = host
        self.confidence = confidence
        self.iou = iou
        self.newest_wins = newest_wins
        self.serial = gate is not None or key_interval is not None
        """Frames must be decoded one after another, because each depends on those before."""
        self.video: VideoDecoder | None = None
        """Made when the first H.264 frame is decoded."""
        self.slow_until: float = math.inf
        """Microseconds until when its frames are taken for slow to decode; at first they are."""
        self.size = (0, 0)
        """Width and height of the last decoded picture."""
        self._gate = gate
        self._key_interval = key_interval
        self._since_key = 0
        self._revision: int | None = None
        """Of the model for the frames being decoded; the model itself would be kept in memory, once
        replaced, by every stream that began with it."""
        self._occupied = threading.Lock()

    def expect(self, encoding: Encoding) -> None:
        """A frame of this encoding is about to wait for its decoding."""
        if encoding is Encoding.H264:
            # Every access unit has to be decoded: those after it are made of it.
            self.serial = True
            self.newest_wins = False

    def next_is_key(self, model: LoadedModel) -> bool:
        """Called once for each frame as its decoding begins: whether it is to be inferred.

        `model` is the frame's. The first frame for another version of the model is inferred, and
        the gate starts anew with it.
        """
        if not (self._gate or self._key_interval):
            return True
        with self._alone():
            if model.revision != self._revision:
                self._revision = model.revision
                self._since_key = 0
                self.forget_reference()
            if self._key_interval is None:
                return True
            key = self._since_key == 0
            self._since_key = (self._since_key + 1) % self._key_interval
            return key

    def picture(
        self,
        frame: Frame,
        *,
        pixels: int,
        memory: int = LIGHT_BYTES,
        videos: MemoryBudget | None = None,
        reduction: Reduction | None = None,
    ) -> Picture:
        """Blue first.

        `pixels` is how many are allowed, `memory` what decoding may take, in bytes; `videos` is
        where the stream has its reference pictures from; `reduction` says how much smaller a JPEG
        may be decoded. Raises FrameError, and MemoryNeededError where `memory` is too little.
        """
        if frame.encoding is Encoding.H264:
            with self._alone():
                if self.video is None:
                    self.video = VideoDecoder(pixels=pixels, memory=videos)
                image = self.video.decode(bytes(frame.payload), memory=memory)
            picture = Picture.whole(image)
        else:
            picture = decode_picture(frame, pixels=pixels, memory=memory, reduction=reduction)
        self.size = (picture.width, picture.height)
        return picture

    def unchanged(self, image: NDArray[np.uint8]) -> bool:
        """Whether the detections of the last inferred frame still hold for this picture."""
        if self._gate is None:
            return False
        with self._alone():
            return self._gate.unchanged(image)

    def forget_reference(self) -> None:
        """The last inferred frame's detections are not to be gone on with: infer the next frame."""
        if self._gate is not None:
            self._gate.forget()

    def close(self) -> bool:
        """The stream has ended: free what it holds now, not when cycles are collected.

        No frame of it is being decoded or will be. Returns whether much memory became free.
        """
        with self._alone():
            self.forget_reference()
            video, self.video = self.video, None
        if video is None:
            return False
        video.close()
        return True

    @contextmanager
    def _alone(self) -> Iterator[None]:
        if not self._occupied.acquire(blocking=False):
            raise RuntimeError(
                "Two threads are in the state of one stream at once; its frames have to be decoded "
                "one after another, and it may be closed only after the last."
            )
        try:
            yield
        finally:
            self._occupied.release()
