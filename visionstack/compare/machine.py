"""Rows that are measured here: this machine by `runtime.measurement`, and darknet's own program."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

from runtime.measurement import machine
from runtime.measurement.results import FILE, Measurement, RunResult
from runtime.measurement.scenario import Scope
from runtime.measurement.statistics import summarize
from visionstack.compare.errors import CompareError
from visionstack.compare.record import Record
from visionstack.paths import CHECKOUT, MODELS

_PREDICTED: Final = re.compile(r"Predicted in ([0-9.]+) seconds")
_DARKNET_TIMEOUT_S: Final = 180
Tell = Callable[[RunResult], None]


class Here(Protocol):
    """Measures on this machine."""

    def measure(self, record: Record, tell: Tell) -> RunResult:
        """This machine's result; `tell` sees it grow."""
        ...

    def darknet(self, record: Record) -> RunResult:
        """darknet's own program on this machine."""
        ...


class ThisMachine:
    """Runs the measuring program as it runs on an instance: as a process of its own."""

    def __init__(self, *, model: Path, picture: Path, out: Path, runs: int = 5) -> None:
        self._model = model
        self._picture = picture
        self._out = out
        self._runs = runs

    def measure(self, record: Record, tell: Tell) -> RunResult:
        """Raises CompareError: the program ended without a result."""
        folder = self._out / "this-machine"
        command = [
            *(sys.executable, "-m", "runtime.measurement"),
            *("--model", str(self._model), "--picture", str(self._picture)),
            *("--out", str(folder), "--run", record.run, "--seconds", str(record.seconds)),
        ]
        for scenario in record.scenarios:
            command += ["--scenario", scenario]
        for scope in record.scopes:
            if scope != "stream":
                command += ["--scope", scope]
        path = folder / FILE
        seen = 0.0
        with subprocess.Popen(
            command,
            cwd=CHECKOUT,
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
        result = _read(path)
        if Scope.STREAM.value in record.scopes:
            from visionstack.compare.stream import measure_stream

            measure_stream(result, record, model=self._model, picture=self._picture, out=folder)
        return result

    def darknet(self, record: Record) -> RunResult:
        """Raises CompareError: it is not installed, fits not this model, or said no time."""
        program = shutil.which("darknet")
        if program is None:
            raise CompareError(
                "not run: darknet is not installed (Debian: apt-get install darknet)"
            )
        config = CHECKOUT / "visionstack" / "models" / "darknet_cfg" / f"{record.model}.cfg"
        weights = MODELS / "cache" / f"{record.model}.weights"
        if not config.exists() or not weights.exists():
            raise CompareError(f"not run: there are no darknet weights for {record.model} here")
        times = [run_darknet(program, config, weights, self._picture) for _ in range(self._runs)]
        return RunResult(
            run=record.run,
            instance_type=None,
            image=None,
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


def run_darknet(program: str, config: Path, weights: Path, picture: Path) -> float:
    """Seconds that darknet itself prints for its network; it is ended when it has printed them.

    Raises:
        CompareError: it printed none.
    """
    # Without a line buffer the time stays inside darknet, which then waits for a key in a window.
    buffered = ["stdbuf", "-oL"] if shutil.which("stdbuf") else []
    command = [*buffered, program, "detect", str(config), str(weights), str(picture)]
    environment = {**os.environ, "QT_QPA_PLATFORM": "offscreen"}
    started = time.monotonic()
    with subprocess.Popen(
        command,
        cwd=Path(config).parent,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        try:
            for line in process.stdout or ():
                if match := _PREDICTED.search(line):
                    return float(match[1])
                if time.monotonic() - started > _DARKNET_TIMEOUT_S:
                    break
        finally:
            process.kill()
    raise CompareError("failed: darknet printed no time")


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
