"""A clock that moves when told to, work that takes a given time, and a model of a few kilobytes."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from runtime.inference.artifact import Artifact, Preprocessing, Weights
from runtime.measurement.errors import WorkloadError
from runtime.measurement.workload import Subject
from visionstack.models.building import write_artifact
from visionstack.models.draft import Draft

SUBJECT = Subject(
    model="toy",
    version="0",
    task="detect",
    weights_trained=False,
    weights="random",
    engine="none",
    precision="fp32",
    device="test",
    flop=1000,
    picture="dog.jpg",
    picture_sha256="0" * 64,
)


@dataclass
class FakeClock:
    """Both clocks in step, until a test sets the wall clock."""

    now: float = 100.0
    offset: float = 1.7e9

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.now + self.offset

    def sleep_until(self, moment: float) -> None:
        self.now = max(self.now, moment)


@dataclass
class Toil:
    """Work of given durations on a fake clock, or of none; fails at the run it is told to."""

    clock: FakeClock | None = None
    seconds: list[float] = field(default_factory=lambda: [0.0])
    fails_at: int | None = None
    runs: int = 0
    pictures: int = 0
    subject: Subject = SUBJECT

    def run(self, pictures: int) -> None:
        if self.fails_at is not None and self.runs >= self.fails_at:
            raise WorkloadError("the engine gave up")
        if self.clock is not None:
            self.clock.now += self.seconds[self.runs % len(self.seconds)]
        self.runs += 1
        self.pictures += pictures


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def tiny_classifier(tmp_path: Path) -> Artifact:
    """Answers with the mean of each colour."""
    nodes = [
        helper.make_node("Transpose", ["pictures"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["planes"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("GlobalAveragePool", ["floats"], ["means"]),
        helper.make_node("Flatten", ["means"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "means",
        [helper.make_tensor_value_info("pictures", TensorProto.UINT8, ["n", 8, 8, 3])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 3])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    draft = Draft(
        model=model,
        task="classify",
        family="classifier",
        size=8,
        preprocessing=Preprocessing(kind="crop", resize=8),
        labels=["0\tred", "1\tgreen", "2\tblue"],
        weights=Weights(trained=True, description="none to speak of"),
        source="tests",
        licence="AGPL-3.0",
    )
    return write_artifact("means", draft, root=tmp_path / "models", say=lambda _: None)
