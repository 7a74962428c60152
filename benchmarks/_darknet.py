"""Darknet's own program (Debian's package `darknet`), timed on a picture by its own clock."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import numpy as np

from visionstack.models.darknet import parse_cfg
from visionstack.models.darknet_models import CFG
from visionstack.models.packages import YOLOV3_TINY_WEIGHTS, fetch_packaged
from visionstack.paths import MODELS

_HEADER = np.array([0, 2, 0, 0, 0], "<i4").tobytes()
_YOLOV3_FLOATS = 62_001_757


def installed() -> bool:
    """Whether the program is there; `apt-get install darknet` brings it."""
    return shutil.which("darknet") is not None


def seconds(name: str, picture: Path, *, folder: Path, size: int = 416) -> float:
    """One prediction of `yolov3-tiny` or `yolov3`, loading and drawing not counted.

    The program is started for each: it ends by waiting for a key in a window.
    """
    folder = folder.resolve()  # the program runs in it
    cfg, weights, data = _files(name, folder, size)
    command = ["stdbuf", "-oL", "darknet", "detector", "test", str(data), str(cfg), str(weights)]
    environment = {**os.environ, "QT_QPA_PLATFORM": "offscreen"}
    process = subprocess.Popen(
        [*command, str(picture)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
        cwd=folder,
        start_new_session=True,
    )
    assert process.stdout is not None
    try:
        for line in process.stdout:
            if found := re.search(r"Predicted in ([\d.]+) seconds", line):
                return float(found.group(1))
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
    raise RuntimeError(f"darknet ended without a prediction of {picture}")


def _files(name: str, folder: Path, size: int) -> tuple[Path, Path, Path]:
    """The network at `size`, its weights (random for yolov3: time does not depend on them)."""
    folder.mkdir(parents=True, exist_ok=True)
    cfg = folder / f"{name}-{size}.cfg"
    text = (CFG / f"{name}.cfg").read_text("utf-8")
    cfg.write_text(re.sub(r"^(width|height)=\d+", rf"\1={size}", text, flags=re.MULTILINE))
    assert parse_cfg(cfg.read_text("utf-8"))[0].integer("width") == size
    data = folder / "coco.data"
    names = folder / "coco.names"
    names.write_text((CFG.parent / "labels" / "coco.txt").read_text("utf-8"))
    data.write_text(f"classes=80\nnames={names}\n")
    if name == "yolov3-tiny":
        return cfg, fetch_packaged(YOLOV3_TINY_WEIGHTS, cache=MODELS / "cache"), data
    weights = folder / "random.weights"
    if not weights.exists():
        values = np.random.default_rng(0).standard_normal(_YOLOV3_FLOATS, np.float32) * 0.01
        # Variances are among them and must be positive.
        weights.write_bytes(_HEADER + np.abs(values).astype("<f4").tobytes())
    return cfg, weights, data
