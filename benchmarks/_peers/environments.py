"""Virtual environments of the peers, one each, made when they are first needed."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from visionstack.paths import BUILD, IMPORT_ROOT

_PINNED_TOO = ("numpy", "opencv-python-headless", "openvino", "onnxruntime", "pillow")
"""The engine and the decoders have the versions that this project's own server has."""


class PeerUnavailableError(Exception):
    """The peer cannot be installed or started here; the message becomes its row."""


@dataclass(frozen=True)
class Peer:
    """A server from the package index."""

    name: str
    requirement: str
    instead: tuple[str, ...] = ()
    """Pins it needs in place of this project's."""
    interpreter: str = sys.executable

    @property
    def folder(self) -> Path:
        return BUILD / "peers" / self.name

    def python(self, *, install: bool) -> Path:
        """Its environment's interpreter. Raises PeerUnavailableError."""
        python = self.folder / "bin" / "python"
        stamp = self.folder / "installed"
        wanted = "\n".join([self.requirement, *self._pins()])
        if stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted:
            return python
        if not install:
            raise PeerUnavailableError("not installed; a run without --quick installs it")
        print(f"   installing {self.requirement} into {self.folder}", flush=True)
        try:
            subprocess.run([self.interpreter, "-m", "venv", str(self.folder)], check=True)
            pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            subprocess.run(
                [*pip, self.requirement, *self._pins()],
                check=True,
                capture_output=True,
                text=True,
                timeout=900,
            )
        except (OSError, subprocess.SubprocessError) as error:
            said = str(getattr(error, "stderr", "") or error).strip().splitlines()
            raise PeerUnavailableError(f"cannot be installed: {said[-1]}") from error
        stamp.write_text(wanted, encoding="utf-8")
        return python

    def _pins(self) -> list[str]:
        replaced = {pin.split("==")[0] for pin in self.instead}
        lines = (IMPORT_ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
        wanted = set(_PINNED_TOO) - replaced
        return [*self.instead, *(line for line in lines if line.split("==")[0] in wanted)]
