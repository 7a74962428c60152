"""Peak memory of `visionstack train classifier` over 20,000 pictures of 224 x 224.

The pictures are crops of the samples under noise of their own, JPEG files in ten folders. Two ways,
each a command of its own: the head alone, whose features are computed once, to its very end; and
all layers, which takes hours on a small machine: ended after some minutes of it, beside the same
over fewer pictures to its end, so that what comes after the training is in a figure too. The peak
is the kernel's (`ru_maxrss` of the child): every page that was the process's at one time.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np

from benchmarks._inputs import PICTURES
from benchmarks._results import Results, table
from visionstack.paths import MODELS, SAMPLES

COUNT: Final = 20_000
FEW: Final = 600
SIDE: Final = 224
PRODUCTS: Final = 10
ALL_LAYERS_S: Final = 120.0
"""Time for all layers, reading the pictures left out."""
BACKBONE: Final = "resnet18"
"""With random weights where its own cannot be had: they take the same memory."""
_GIB: Final = 2**30
_NAME: Final = "memory-bench"


def main(out: Path, quick: bool) -> None:
    """With `quick`, a twentieth of the pictures."""
    results = Results(out / "training_memory.json", title="Peak memory of training", quick=quick)
    count = COUNT // 20 if quick else COUNT
    rows: list[dict[str, Any]] = []
    try:
        _measure(results, rows, count)
    finally:
        shutil.rmtree(MODELS / _NAME, ignore_errors=True)


def _measure(results: Results, rows: list[dict[str, Any]], count: int) -> None:
    with tempfile.TemporaryDirectory(prefix="visionstack-pictures-") as place:
        root = Path(place)
        many = pictures(root / "many", count)
        few = pictures(root / "few", FEW)
        for name, data, options, seconds in (
            ("head", many, ("--way", "head", "--no-augment", "--epochs", "3"), None),
            ("all layers, begun", many, ("--way", "all", "--augment"), ALL_LAYERS_S),
            ("head, augmented", few, ("--way", "head", "--augment", "--epochs", "2"), None),
            ("all layers, to the end", few, ("--way", "all", "--augment", "--epochs", "1"), None),
        ):
            # The squares are the same for both ways and read once.
            rows.append(trained(name, data, options, root / f"out-{data.name}", seconds))
            results.values["runs"] = rows
            results.save()
            print(table(rows[-1:]), flush=True)


def pictures(folder: Path, count: int) -> Path:
    """JPEG files of `SIDE` in a folder a product."""
    random = np.random.default_rng(0)
    sources = [np.asarray(cv2.imread(str(SAMPLES / name)), np.uint8) for name in PICTURES]
    for number in range(count):
        source = sources[number % len(sources)]
        height, width = source.shape[:2]
        side = int(random.integers(SIDE // 2, min(height, width)))
        top, left = random.integers(0, height - side + 1), random.integers(0, width - side + 1)
        crop = cv2.resize(source[top : top + side, left : left + side], (SIDE, SIDE))
        blocks = random.normal(0, 30, (14, 14, 3)).repeat(16, 0).repeat(16, 1)
        tint = np.zeros(3)
        tint[number % PRODUCTS % 3] = 10 * (number % PRODUCTS)
        home = folder / f"P-{number % PRODUCTS}"
        home.mkdir(parents=True, exist_ok=True)
        pixels = np.clip(crop + blocks + tint, 0, 255).astype(np.uint8)
        cv2.imwrite(str(home / f"{number:06}.jpg"), pixels, [cv2.IMWRITE_JPEG_QUALITY, 80])
    return folder


def trained(
    name: str, data: Path, options: tuple[str, ...], out: Path, seconds: float | None
) -> dict[str, Any]:
    """Run the command, for so long after it has read the pictures if told to; its peak in GiB."""
    squares = out / _NAME
    command = [
        *(sys.executable, "-m", "visionstack.cli", "train", "classifier", str(data)),
        *("--name", _NAME, "--size", str(SIDE), "--backbone", BACKBONE),
        *("--out", str(out), "--json", *options),
    ]
    began = time.monotonic()
    ended = "its own end"
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, stdout=said, stderr=said)
        while os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None:
            time.sleep(0.2)
            if not list(squares.glob("squares-*.json")):
                began = time.monotonic()
            elif seconds is not None and time.monotonic() - began > seconds:
                ended = f"after {seconds:.0f} s"
                process.send_signal(signal.SIGTERM)
                seconds = None
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        said.seek(0)
        text = said.read().decode(errors="replace")
    if process.returncode != 0 and ended == "its own end":
        raise RuntimeError(f"{' '.join(command)} failed: {text[-2000:]}")
    return {
        "run": name,
        "pictures": sum(1 for _ in data.rglob("*.jpg")),
        "ended": ended,
        "peak_gib": usage.ru_maxrss * 1024 / _GIB,
        "seconds_after_reading": time.monotonic() - began,
        "written_gib": sum(one.stat().st_size for one in out.rglob("*") if one.is_file()) / _GIB,
    }
