"""Coverage-guided fuzzing for a bounded time, by atheris (libFuzzer).

    python -m benchmarks.fuzzing [--target NAME] [--minutes M] [--keep]

Targets: the stream's codec with HELLO and WELCOME, picture files, H.264 units, the function's
events (`_fuzz_targets.py` says what has to hold). Each begins with the corpus in the tree,
`fuzz_corpus/`; `--keep` adds what reached a new branch to it. A finding is a failure, with the
input that caused it in `out`; mended, it goes into the corpus, which the ordinary tests run.

atheris lives in a virtual environment of its own, made on demand; quick mode uses it when it is
there and says so when it is not.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks._fuzz_targets import CORPUS, TARGETS
from benchmarks._results import Results, own_options, table
from visionstack.paths import BUILD, IMPORT_ROOT

_ATHERIS = "atheris==3.0.0"
_VENV = BUILD / "venv-fuzzing"
_MINUTES, _QUICK_MINUTES = 10.0, 0.1
_LONGEST_INPUT = 8192
_SLOWEST_SECONDS = 120
"""For one input, by the clock: where others come first a process may stand still for half a
minute."""
_MEMORY_MIB = 2048


class FuzzingError(Exception):
    """The fuzzer found an input, or could not run."""


def main(
    out: Path,
    quick: bool,
    *,
    minutes: float | None = None,
    targets: Sequence[str] | None = None,
    keep: bool = False,
) -> None:
    """Write `fuzzing.json` into `out`. Raises FuzzingError for a finding."""
    minutes = minutes or (_QUICK_MINUTES if quick else _MINUTES)
    results = Results(out / "fuzzing.json", title="Fuzzing", quick=quick)
    python = _VENV / "bin" / "python"
    if not python.exists():
        if quick:
            results.values["skipped"] = "no atheris here; `make bench` installs it"
            results.save()
            print(results.values["skipped"])
            return
        subprocess.run([sys.executable, "-m", "venv", str(_VENV)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", _ATHERIS], check=True)
    rows: list[dict[str, Any]] = []
    results.values["targets"] = rows
    findings = []
    for target in targets or TARGETS:
        row, error = _fuzz(python, target, out=out, seconds=int(minutes * 60), keep=keep)
        rows.append(row)
        results.save()
        if error:
            findings.append(f"{target}: {error}")
    print(table(rows))
    if findings:
        raise FuzzingError("\n".join(findings))


def _fuzz(
    python: Path, target: str, *, out: Path, seconds: int, keep: bool
) -> tuple[dict[str, Any], str]:
    """What was done, and what the fuzzer says of its finding, if any."""
    kept = CORPUS / target
    with tempfile.TemporaryDirectory(prefix="fuzzing-") as found:
        began = time.monotonic()
        done = _run(
            python,
            target,
            f"-max_total_time={seconds}",
            f"-artifact_prefix={out}/fuzzing-{target}-",
            "-print_final_stats=1",
            found,
            str(kept),
        )
        executed = re.search(r"stat::number_of_executed_units:\s+(\d+)", done.stderr)
        coverage = re.findall(r"cov: (\d+)", done.stderr)
        row = {
            "target": target,
            "seconds": time.monotonic() - began,
            "inputs": int(executed.group(1)) if executed else 0,
            "coverage": int(coverage[-1]) if coverage else 0,
            "corpus": len(list(kept.iterdir())) + len(list(Path(found).iterdir())),
            "findings": int(done.returncode != 0),
        }
        if done.returncode or not executed:
            return row, done.stderr[-3000:]
        if keep:
            _keep(python, target, kept, Path(found))
    return row, ""


def _keep(python: Path, target: str, kept: Path, found: Path) -> None:
    """The smallest set of both that reaches the same branches, the old inputs first."""
    with tempfile.TemporaryDirectory(prefix="fuzzing-") as merged:
        done = _run(python, target, "-merge=1", merged, str(kept), str(found))
        # It says nothing by its status when its own processes fail, as when none begins.
        if done.returncode or not any(Path(merged).iterdir()):
            raise FuzzingError(done.stderr[-2000:])
        for path in Path(merged).iterdir():
            # libFuzzer names its inputs by their content; those named by hand stay.
            if not any(one.read_bytes() == path.read_bytes() for one in kept.iterdir()):
                shutil.copyfile(path, kept / path.name)


def _run(python: Path, target: str, *options: str) -> subprocess.CompletedProcess[str]:
    ours = sysconfig.get_paths()["purelib"]
    return subprocess.run(
        [
            *(str(python), "-m", "benchmarks._fuzz", target, f"-max_len={_LONGEST_INPUT}"),
            *(f"-timeout={_SLOWEST_SECONDS}", f"-rss_limit_mb={_MEMORY_MIB}", *options),
        ],
        cwd=IMPORT_ROOT,
        env={**os.environ, "PYTHONPATH": f"{IMPORT_ROOT}{os.pathsep}{ours}"},
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )


if __name__ == "__main__":
    parser = own_options(__doc__)
    parser.add_argument("--target", choices=list(TARGETS), action="append", dest="targets")
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--keep", action="store_true", help="add to the corpus in the tree")
    main(**vars(parser.parse_args()), quick=False)
