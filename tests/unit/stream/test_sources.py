"""What a source may be, and what is said when it is nothing."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from visionstack.errors import UsageError, VisionstackError
from visionstack.paths import SAMPLES
from visionstack.stream.errors import StreamError
from visionstack.stream.pictures import encode_picture
from visionstack.stream.sources import SourceFrame, open_source, paced


def test_a_video_file_gives_its_frames_rate_and_length() -> None:
    source = open_source(str(SAMPLES / "pedestrians.avi"))
    assert (source.total, source.rate, source.realtime) == (300, 10.0, False)
    first = next(source.frames)
    assert first.picture.shape == (576, 768, 3)
    assert first.name == "pedestrians.avi#0"


def test_a_picture_is_sent_as_the_file_it_is() -> None:
    source = open_source(str(SAMPLES / "dog.jpg"))
    (frame,) = source.frames
    assert encode_picture(frame.picture).data == (SAMPLES / "dog.jpg").read_bytes()


def test_a_folder_gives_its_pictures_by_name(tmp_path: Path) -> None:
    for name in ("b.png", "a.png", "notes.txt"):
        cv2.imwrite(str(tmp_path / name), np.zeros((4, 4, 3))) if name.endswith("g") else (
            tmp_path / name
        ).touch()
    assert [frame.name for frame in open_source(str(tmp_path)).frames] == ["a.png", "b.png"]


@pytest.mark.parametrize("source", ["nothing.mp4", "no/such/folder"])
def test_a_source_that_is_not_there_is_wrong_usage(source: str) -> None:
    with pytest.raises(UsageError, match=source):
        open_source(source)


def test_an_empty_name_is_not_the_folder_one_is_in() -> None:
    with pytest.raises(UsageError, match="empty"):
        open_source("")


def test_an_empty_folder_is_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no picture"):
        open_source(str(tmp_path))


def test_a_folder_says_what_it_leaves_out(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((4, 4, 3)))
    for name in ("b.HEIC", "c.heic", "d.gif", "README", "._a.png", ".DS_Store", "Thumbs.db"):
        (tmp_path / name).touch()
    (tmp_path / "more").mkdir()
    source = open_source(str(tmp_path))
    assert [frame.name for frame in source.frames] == ["a.png"]
    told = str(source.left_out)
    assert told.startswith("Left out: 2 .heic, 1 without an ending, 1 .gif, 1 of its folders (")
    assert "magick mogrify" in told


def test_a_folder_of_heic_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "IMG_0001.HEIC").touch()
    with pytest.raises(UsageError, match="no picture") as refused:
        open_source(str(tmp_path))
    assert "1 .heic" in str(refused.value.remedy)
    assert "Most Compatible" in str(refused.value.remedy)


def test_a_file_that_is_no_video_is_named(tmp_path: Path) -> None:
    path = tmp_path / "notes.avi"
    path.write_text("not a video")
    with pytest.raises(VisionstackError, match=r"notes\.avi"):
        open_source(str(path))


@pytest.mark.usefixtures("interruptible")
def test_a_source_that_says_nothing_can_be_interrupted(tmp_path: Path) -> None:
    path = tmp_path / "camera.avi"
    os.mkfifo(path)
    main = threading.main_thread().ident or 0
    threading.Timer(1, signal.pthread_kill, (main, signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        open_source(str(path))
    with contextlib.suppress(OSError):  # what waits for it goes on
        os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))


def test_a_camera_that_is_not_there_is_named() -> None:
    with pytest.raises(VisionstackError, match="camera 63"):
        open_source("63")


def test_bytes_that_are_no_picture_are_refused_before_they_are_sent(tmp_path: Path) -> None:
    path = tmp_path / "page.jpg"
    path.write_text("<html>")
    with pytest.raises(StreamError, match=r"page\.jpg"):
        encode_picture(path)


@pytest.mark.parametrize(
    "picture",
    [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3), np.float32)],
)
def test_an_array_that_is_no_picture_is_refused(picture: np.ndarray) -> None:
    with pytest.raises(StreamError, match="shape"):
        encode_picture(picture)


def test_pacing_keeps_the_beat_over_frames_that_are_late() -> None:
    frames = iter([SourceFrame(str(n), b"") for n in range(11)])
    began = time.monotonic()
    for number, _ in enumerate(paced(frames, 50)):
        if number == 3:
            time.sleep(0.1)
    took = time.monotonic() - began
    assert took >= 0.2
