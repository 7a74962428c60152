"""End to end over the stream: a frame sent from the desk, its result received.

The workload is `StreamClient`, so that LoadGen and the camera drive the streaming lane exactly as
they drive an engine. `measure_stream` does it with a server process on this machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from runtime.contract import ScenarioKind, Scope
from runtime.measurement.errors import MeasurementError, WorkloadError
from runtime.measurement.loadgen import Limits
from runtime.measurement.results import FolderSink, RunResult
from runtime.measurement.runner import Plan, run
from runtime.measurement.scenario import Scenario
from runtime.measurement.workload import Subject
from visionstack.compare.errors import CompareError
from visionstack.compare.record import Record
from visionstack.errors import VisionstackError
from visionstack.server_process import served

if TYPE_CHECKING:
    from visionstack.stream.blocking import StreamClient


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
    result: RunResult,
    record: Record,
    *,
    model: Path,
    picture: Path,
    out: Path,
    seconds: float,
    engine: str = "auto",
    precision: str = "auto",
    prefix: Sequence[str] = (),
) -> None:
    """Add the scenarios at stream scope to this machine's result; `prefix` begins the server's
    command.

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
    with (
        served(model, engine=engine, precision=precision, prefix=prefix) as endpoint,
        StreamClient(endpoint, policy="lossless") as client,
    ):
        workload = StreamWorkload(client, picture.read_bytes(), subject)
        try:
            run(
                Plan(scenarios, [Scope.STREAM], Limits(seconds=seconds)),
                {Scope.STREAM: workload},
                result,
                sinks=[FolderSink(out)],
                logs=out / "loadgen",
            )
        except MeasurementError as error:
            raise CompareError(str(error)) from error
