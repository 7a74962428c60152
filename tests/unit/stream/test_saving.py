"""Videos with boxes drawn, whatever happens while they are written."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from visionstack.errors import VisionstackError
from visionstack.stream.saving import Saver, open_saver
from visionstack.stream.types import Latency, StreamResult


def result(sequence: int) -> StreamResult:
    latency = Latency(1, 0, 0, 0, 0, 0, 0, 0)
    return StreamResult(sequence, 64, 48, (), latency, 1, False, False, 0, "1", sequence)


def pictures(count: int) -> list[np.ndarray]:
    chance = np.random.default_rng(1)
    return [chance.integers(0, 255, (48, 64, 3), np.uint8) for _ in range(count)]


def add(saver: Saver, pictures: Iterable[np.ndarray]) -> None:
    for number, picture in enumerate(pictures):
        saver.add("", picture, result(number))


class Interrupted:
    """The encoder's stream. Ctrl-C comes while it has the frame that is so many away."""

    def __init__(self, stream: Any, *, away: int) -> None:
        self._stream, self._away = stream, away

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def encode(self, frame: Any = None) -> Any:
        packets = self._stream.encode(frame)
        self._away -= 1
        if self._away == 0:
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        return packets


@pytest.mark.usefixtures("interruptible")
def test_an_interrupted_video_has_every_frame_that_was_encoded(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    saver: Any = open_saver(path, rate=10)
    first, *others = pictures(100)
    add(saver, [first])
    # Long after the frames that the encoder keeps before it gives its first packet.
    saver._stream = Interrupted(saver._stream, away=80)
    with pytest.raises(KeyboardInterrupt):
        add(saver, others)
    saver.close()
    saved, frames = cv2.VideoCapture(str(path)), 0
    while saved.read()[0]:
        frames += 1
    assert frames == 81


def test_a_video_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    path.mkdir()
    saver = open_saver(path, rate=10)
    with pytest.raises(VisionstackError, match=r"out\.mp4 cannot be written"):
        add(saver, pictures(80))
