"""libFuzzer's process: `python -m benchmarks._fuzz TARGET FLAGS… CORPUS…`.

Run by `benchmarks.fuzzing`, in a virtual environment whose only package is atheris.
"""

from __future__ import annotations

import shlex
import sys
from typing import Final

import atheris  # type: ignore[import-untyped]

INSTRUMENTED: Final = {
    "codec": ["runtime.protocol"],
    "picture": ["runtime.inference.pictures", "PIL"],
    "video": ["runtime.streaming.frames.h264"],
    "event": ["runtime.classifier", "json"],
}
"""Whose branches guide the fuzzer."""

if __name__ == "__main__":
    name = sys.argv.pop(1)
    with atheris.instrument_imports(include=INSTRUMENTED[name]):
        from benchmarks._fuzz_targets import TARGETS
    # A merge starts processes of its own: the shell is given this in the program's place.
    sys.argv[0] = shlex.join([sys.executable, "-m", "benchmarks._fuzz", name])
    atheris.Setup(sys.argv, TARGETS[name])
    atheris.Fuzz()
