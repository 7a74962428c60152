"""End to end over the stream: a frame sent from the desk, its result received.

The workload is `StreamClient`, so that LoadGen and the camera drive the streaming lane exactly as
they drive an engine. `measure_stream` does it with a server process on this machine.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from runtime.contract import ScenarioKind
from runtime.measurement.errors import MeasurementError, WorkloadError
from runtime.measurement.loadgen import Limits
from runtime.measurement.results import FolderSink, RunResult
from runtime.measurement.runner import Plan, run
from runtime.measurement.scenario import Scenario, Scope
from runtime.measurement.workload import Subject
from visionstack.compare.errors import CompareError
from visionstack.compare.record import Record
from visionstack.errors import VisionstackError
from visionstack.paths import IMPORT_ROOT

if TYPE_CHECKING:
    from visionstack.stream.blocking import StreamClient

_LINES_BEFORE_READY: Final = 50


@dataclass(frozen=True)
class _Endpoint:
    host: str
    port: int
    token: str
    fingerprint: str | None = None


class StreamWorkload:
    """One frame a picture, sent and waited for; a query of several waits for each in turn."""

    def __init__(self, client: StreamClient, picture: bytes, subject: Subject) -> None:
        self.subject = subject
        self._client = client
        self._picture = picture

    def run(self, pictures: int) -> None:
        """Raises WorkloadError: the frame was refused, or the connection is lost."""
        try:
            for _ in range(pictures):
                self._client.detect(self._picture)
        except VisionstackError as error:
            raise WorkloadError(error.message) from error


def measure_stream(
    result: RunResult, record: Record, *, model: Path, picture: Path, out: Path
) -> None:
    """Add the scenarios at stream scope to this machine's result.

    Raises:
        CompareError: the server did not start, or the model is no detector.
    """
    from visionstack.stream.blocking import StreamClient

    scenarios = [Scenario.parse(text) for text in record.scenarios]
    # One client waits for one frame at a time: a query of many is not what this scope is about.
    scenarios = [
        s for s in scenarios if s.kind in {ScenarioKind.SINGLE_STREAM, ScenarioKind.CAMERA}
    ]
    if record.task != "detect" or not scenarios:
        raise CompareError(
            "The stream scope takes a detector, and single-stream or camera:FPS.",
            remedy="Leave --scope stream out, or choose such a model and scenario.",
        )
    subject = Subject(**(result.subject or {}))
    with served(model) as endpoint, StreamClient(endpoint, policy="lossless") as client:
        workload = StreamWorkload(client, picture.read_bytes(), subject)
        try:
            run(
                Plan(scenarios, [Scope.STREAM], Limits(seconds=record.seconds)),
                {Scope.STREAM: workload},
                result,
                sinks=[FolderSink(out)],
                logs=out / "loadgen",
            )
        except MeasurementError as error:
            raise CompareError(str(error)) from error


@contextmanager
def served(model: Path, *, engine: str = "auto") -> Iterator[_Endpoint]:
    """A stream server of this model on a free port of loopback, stopped at the end.

    Raises:
        CompareError: it ended before it was ready.
    """
    name = model.parent.name
    command = [
        *(sys.executable, "-m", "visionstack.cli", "serve", "--model", name),
        *("--port", "0", "--http-port", "0", "--engine", engine),
    ]
    environment = {
        key: value for key, value in os.environ.items() if not key.startswith("VISIONSTACK_")
    }
    with subprocess.Popen(
        command,
        cwd=IMPORT_ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        try:
            said: dict[str, str] = {}
            for _, line in zip(range(_LINES_BEFORE_READY), process.stdout or (), strict=False):
                key, _, value = line.strip().partition(": ")
                said[key] = value
                if {"address", "token", "page"} <= said.keys():
                    break
            else:
                raise CompareError(f"The stream server of {name} did not start.")
            host, _, port = said["address"].rpartition(":")
            yield _Endpoint(host, int(port), said["token"])
        finally:
            process.terminate()
            process.wait(timeout=30)
