"""The model and the pictures that benchmarks work on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from visionstack.accuracy.inputs import Inputs, open_inputs
from visionstack.paths import IMPORT_ROOT, MODELS, SAMPLES

Frame = NDArray[np.uint8]

CLIP = SAMPLES / "pedestrians.avi"
CLIP_SIZE = (768, 576)
PICTURES = ("dog.jpg", "person.jpg", "horses.jpg")


def model_folder(name: str = "yolov3-tiny", *, size: int | None = None) -> Path:
    """The artifact's folder, built by the project's own command when it is not there.

    With `size` it is `NAME-SIZE`, for so many pixels. With random weights where the real ones
    cannot be had: they take the same time.
    """
    built = name if size is None else f"{name}-{size}"
    current = MODELS / built / "current"
    if not current.is_file():
        command = [sys.executable, "-m", "visionstack.cli", "models", "build", name, "--random"]
        if size is not None:
            command += ["--size", str(size), "--name", built]
        subprocess.run(command, check=True)
    return MODELS / built / current.read_text(encoding="utf-8").strip()


def jpeg(frame: Frame, *, quality: int = 90) -> bytes:
    """The frame as a JPEG file."""
    _, data = cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return data.tobytes()


def camera_pictures(folder: Path) -> list[Path]:
    """The sample photographs as a camera would send them, JPEG files in `folder`."""
    size = (640, 480)
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name in PICTURES:
        picture = cv2.resize(cv2.imread(str(SAMPLES / name)), size, interpolation=cv2.INTER_AREA)
        path = folder / f"{Path(name).stem}-{size[0]}x{size[1]}.jpg"
        path.write_bytes(jpeg(np.asarray(picture, np.uint8)))
        written.append(path)
    return written


def labelled_clip() -> tuple[Inputs, str]:
    """The clip with MOTChallenge's labels of all of it where they lie, else the sample's of twelve
    frames; and the name of the labels' file."""
    named = os.environ.get("VISIONSTACK_PETS09_S2L1_GT")
    whole = Path(named or IMPORT_ROOT.parent / "shared" / "data" / "pets09_s2l1_gt.txt")
    if whole.is_file():
        return open_inputs(CLIP, labels=whole, cut=True), whole.name
    few = SAMPLES / "ground_truth_pedestrians.json"
    return open_inputs(CLIP, labels=few), few.name
