"""Coverage-guided fuzzing of the stream's codec for a bounded time, by atheris (libFuzzer).

atheris lives in a virtual environment of its own, made on demand; quick mode uses it when it is
there and says so when it is not. A finding is a failure, with the input that caused it in `out`.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

from benchmarks._results import Results
from runtime.protocol.errors import CloseCode, FrameErrorCode
from runtime.protocol.framing import LengthPrefixed
from runtime.protocol.messages import (
    Close,
    Detection,
    Dropped,
    Encoding,
    Frame,
    FrameFailed,
    Hello,
    Ping,
    Result,
    Timing,
)
from runtime.protocol.options import HelloOptions
from visionstack.paths import BUILD, IMPORT_ROOT

_ATHERIS = "atheris==3.0.0"
_VENV = BUILD / "venv-fuzzing"
_SECONDS, _QUICK_SECONDS = 120, 8


class FuzzingError(Exception):
    """The fuzzer found an input, or could not run."""


def main(out: Path, quick: bool) -> None:
    """Write `fuzzing.json` into `out`. Raises FuzzingError for a finding."""
    results = Results(out / "fuzzing.json", title="Fuzzing of the stream's codec", quick=quick)
    python = _VENV / "bin" / "python"
    if not python.exists():
        if quick:
            results.values["skipped"] = "no atheris here; `make bench` installs it"
            results.save()
            print(results.values["skipped"])
            return
        subprocess.run([sys.executable, "-m", "venv", str(_VENV)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", _ATHERIS], check=True)
    corpus = out / "fuzzing-corpus"
    _seed(corpus)
    seconds = _QUICK_SECONDS if quick else _SECONDS
    began = time.monotonic()
    done = subprocess.run(
        [
            *(str(python), "-m", "benchmarks._fuzz_codec", f"-max_total_time={seconds}"),
            *(f"-artifact_prefix={out}/fuzzing-", "-print_final_stats=1", str(corpus)),
        ],
        cwd=IMPORT_ROOT,
        env={**os.environ, "PYTHONPATH": str(IMPORT_ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    executed = re.search(r"stat::number_of_executed_units:\s+(\d+)", done.stderr)
    coverage = re.findall(r"cov: (\d+)", done.stderr)
    results.values |= {
        "seconds": time.monotonic() - began,
        "inputs": int(executed.group(1)) if executed else 0,
        "branches_covered": int(coverage[-1]) if coverage else 0,
        "findings": int(done.returncode != 0),
    }
    results.save()
    if done.returncode or not executed:
        raise FuzzingError(done.stderr[-2000:])
    print(
        f"{results.values['inputs']:,} inputs in {seconds} s, no finding, "
        f"{results.values['branches_covered']} branches covered"
    )


def _seed(corpus: Path) -> None:
    """One message of each kind, bare and framed, so that the fuzzer need not invent them."""
    corpus.mkdir(parents=True, exist_ok=True)
    found = (Detection(1, 0.5, (1.0, 2.0, 3.0, 4.0)),)
    seeds = (
        Hello(HelloOptions(token="t", gate=0.1)),  # noqa: S106 - guards nothing
        Frame(1, 2, Encoding.JPEG, b"\xff\xd8"),
        Result(1, 2, 3, Timing(), found),
        Dropped((1, 2)),
        FrameFailed(1, FrameErrorCode.UNDECODABLE, "no"),
        Ping(1),
        Close(CloseCode.NORMAL, "bye"),
    )
    for message in seeds:
        name = type(message).__name__.lower()
        (corpus / name).write_bytes(message.encode())
        (corpus / f"{name}-framed").write_bytes(LengthPrefixed().wrap(message.encode()))
