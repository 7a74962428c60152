"""Rows that are measured here: this machine by `runtime.measurement`, and darknet's own program."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from runtime.contract import Scope
from runtime.inference.artifact import Artifact
from runtime.measurement import machine
from runtime.measurement.results import FILE, Measurement, RunResult
from runtime.measurement.statistics import summarize
from visionstack.compare.errors import CompareError, NotRunError
from visionstack.compare.held import held
from visionstack.compare.record import Record
from visionstack.errors import VisionstackError
from visionstack.models.darknet_program import DarknetProgram
from visionstack.paths import IMPORT_ROOT, MODELS

Tell = Callable[[RunResult], None]
_DARKNET_RUNS: Final = 5


@dataclass(frozen=True, kw_only=True)
class Turn:
    """A share of a row's measurement: `number` from 0, and what the row's setting holds it to."""

    number: int
    seconds: float
    engine: str = "auto"
    precision: str = "auto"
    processors: int | None = None
    memory_mib: int | None = None

    @property
    def folder(self) -> Path:
        """Where its results go, below the comparison's folder."""
        name = "this-machine"
        if not self.engine == self.precision == "auto":
            name += f"-{self.engine}-{self.precision}"
        if self.held:
            name += f"-{self.processors}-{self.memory_mib}"
        return Path(name, f"turn-{self.number + 1}") if self.number else Path(name)

    @property
    def held(self) -> bool:
        """Whether it runs with fewer processors or less memory than the machine has."""
        return bool(self.processors or self.memory_mib)


@dataclass(frozen=True, kw_only=True)
class ThisMachine:
    """Runs the measuring program as it runs on an instance: as a process of its own."""

    model: Path
    picture: Path
    out: Path

    def measure(self, record: Record, tell: Tell, turn: Turn) -> RunResult:
        """This machine's result of a turn; `tell` sees it grow.

        Raises CompareError: the program ended without a result.
        """
        folder = self.out / turn.folder
        command = [
            *(sys.executable, "-m", "runtime.measurement"),
            *("--model", str(self.model), "--picture", str(self.picture)),
            *("--out", str(folder), "--run", record.run, "--seconds", str(turn.seconds)),
            *("--engine", turn.engine, "--precision", turn.precision),
            *(["--no-limit"] if turn.number or turn.held else []),
        ]
        for scenario in record.scenarios:
            command += ["--scenario", scenario]
        for scope in record.scopes:
            if scope != "stream":
                command += ["--scope", scope]
        with held(turn.processors, turn.memory_mib) as prefix:
            result = _run([*prefix, *command], folder, tell)
            if Scope.STREAM.value in record.scopes:
                from visionstack.compare.stream import measure_stream

                measure_stream(
                    result,
                    record,
                    model=self.model,
                    picture=self.picture,
                    out=folder,
                    seconds=turn.seconds,
                    engine=turn.engine,
                    precision=turn.precision,
                    prefix=prefix,
                )
        return result

    def darknet(self, record: Record) -> RunResult:
        """darknet's own program on this machine.

        Raises NotRunError: it is not installed, knows not this model, or said no time.

        At the model's own input size. Weights that were downloaded are used; darknet's time is the
        same with random ones.
        """
        downloaded = MODELS / "cache" / f"{record.model}.weights"
        try:
            program = DarknetProgram(
                record.model,
                folder=self.out / "darknet",
                cache=MODELS / "cache",
                size=Artifact.load(self.model).manifest.input.width,
                weights=downloaded if downloaded.exists() else None,
            )
            times = [program.seconds(self.picture) for _ in range(_DARKNET_RUNS)]
        except VisionstackError as error:
            raise NotRunError(f"not run: {error}") from error
        return RunResult(
            run=record.run,
            machine=machine.describe(),
            versions={"darknet": _debian_version("darknet")},
            subject={
                "model": record.model,
                "version": record.version,
                "engine": "darknet",
                "precision": "fp32",
                "picture": record.picture,
                "picture_sha256": record.picture_sha256,
            },
            measurements=[
                Measurement(
                    scenario="single-stream",
                    scope="network",
                    status="measured",
                    seconds=sum(times),
                    pictures=len(times),
                    latency_s=summarize(times),
                    raw_s=times,
                )
            ],
            finished=True,
        )


def _run(command: list[str], folder: Path, tell: Tell) -> RunResult:
    """The measuring program's result; `tell` sees it grow. Raises `CompareError` without one."""
    path = folder / FILE
    seen = 0.0
    with subprocess.Popen(
        command,
        cwd=IMPORT_ROOT,
        env=_bare_environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            while process.poll() is None:
                time.sleep(0.2)
                changed = path.stat().st_mtime if path.exists() else 0.0
                if changed > seen:
                    seen = changed
                    tell(_read(path))
        finally:
            if process.poll() is None:
                process.terminate()
        said = process.stderr.read() if process.stderr else ""
    if not path.exists():
        last = said.strip().splitlines()[-1:] or ["it said nothing"]
        raise CompareError(f"This machine could not be measured: {last[0]}")
    return _read(path)


def _debian_version(package: str) -> str:
    program = shutil.which("dpkg-query")
    if program is None:
        return "unknown"
    answer = subprocess.run(
        [program, "-W", "-f", "${Version}", package], capture_output=True, text=True, check=False
    )
    return answer.stdout.strip() or "unknown"


def _bare_environment() -> dict[str, str]:
    """Without the variables that would send this machine's row to a bucket."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("VISIONSTACK_", "AWS_"))
    }


def _read(path: Path) -> RunResult:
    return RunResult.from_json(json.loads(path.read_text(encoding="utf-8")))
