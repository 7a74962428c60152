"""A plan's ingredients and executors that measure nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from runtime.measurement.machine import Machine
from runtime.measurement.results import Measurement, RunResult
from runtime.measurement.statistics import summarize
from visionstack.compare.fleets import Progress
from visionstack.compare.plan import Request, make
from visionstack.compare.record import Record
from visionstack.compare.runner import Executors
from visionstack.compare.targets import FunctionSetting
from visionstack.cost.prices import load
from visionstack.doctor.checks import Check, State

BOOK = load("2026-11-21")
VERSION = "0123456789abcdef"
MACHINE = Machine("Test CPU", 2, 8.0, "x86_64", "Linux", "Debian", (), ())


def artifact(task: str = "classify", *, size: int = 1000, trained: bool = True) -> Any:
    weights = SimpleNamespace(trained=trained, description="official")
    return SimpleNamespace(
        manifest=SimpleNamespace(
            name="toy",
            version=VERSION,
            task=task,
            weights=weights,
            files={"model.onnx": SimpleNamespace(bytes=size)},
        )
    )


def good(name: str) -> list[Check]:
    return [Check(f"{name}: offering", State.GOOD, "offered", instance_type=name)]


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "dog.jpg"
    path.write_bytes(b"a picture")
    return path


Plan = Callable[..., Record]


@pytest.fixture
def plan(picture: Path) -> Plan:
    def planned(
        *,
        task: str = "classify",
        cloud: str = "aws",
        check: Callable[[str], list[Check]] = good,
        size: int = 1000,
        trained: bool = True,
        **request: Any,
    ) -> Record:
        return make(
            Request(picture=picture, **request),
            artifact(task, size=size, trained=trained),
            run="r1",
            cloud=cloud,
            region="us-east-1",
            book=BOOK,
            check=check,
        )

    return planned


def result(
    record: Record,
    *,
    latency: float = 0.01,
    samples: int = 200,
    version: str = VERSION,
    picture: str | None = None,
    finished: bool = True,
    scope: str = "picture",
) -> RunResult:
    """A finished single-stream measurement with a little spread."""
    raw = [latency * (1 + 0.01 * (n % 7)) for n in range(samples)]
    return RunResult(
        run="r1",
        instance_type=None,
        image=None,
        machine=MACHINE,
        versions={},
        subject={
            "version": version,
            "picture_sha256": picture or record.picture_sha256,
            "engine": "openvino",
            "precision": "bf16",
            "flop": 5_000_000_000,
        },
        peak_flop_per_second=1e12,
        measurements=[
            Measurement(
                scenario="single-stream",
                scope=scope,
                status="measured",
                seconds=sum(raw),
                pictures=samples,
                latency_s=summarize(raw),
                raw_s=raw,
                loadgen={"valid": True, "logs": "l", "settings": {}, "summary": {}},
            )
        ],
        finished=finished,
    )


def call(inside: float, *, cold: bool = False, desk: float | None = None) -> dict[str, Any]:
    return {
        "seconds": desk if desk is not None else inside + 0.02,
        "inside_s": inside,
        "cold": cold,
        "timings_ms": {},
    }


@dataclass
class Fakes:
    """Executors whose answers a test sets; `log` holds what was asked of them, in order."""

    record: Record
    progresses: dict[str, list[Progress]] = field(default_factory=dict)
    deploy_error: Exception | None = None
    function_error: Exception | None = None
    machine_error: BaseException | None = None
    log: list[str] = field(default_factory=list)

    def measure(self, first: Any, tell: Callable[[Any], None], *_: Any) -> Any:
        if isinstance(first, FunctionSetting):
            self.log.append(f"function {first.memory_mib}")
            if self.function_error:
                raise self.function_error
            tell("calling")
            return {
                "model": {"version": VERSION},
                "engine": {"name": "onnxruntime", "precision": "fp32"},
                "warm": [call(0.05 + 0.0001 * n) for n in range(30)],
                "first": [call(0.9, cold=True, desk=1.5)],
            }
        self.log.append("here")
        if self.machine_error:
            raise self.machine_error
        found = result(self.record)
        tell(found)
        return found

    def darknet(self, record: Record) -> RunResult:
        self.log.append("darknet")
        return result(record, latency=0.7, samples=5, scope="network")

    def batches(self, names: Sequence[str]) -> list[list[str]]:
        return [list(names)]

    def deploy(self, names: Sequence[str]) -> None:
        self.log.append(f"deploy {','.join(names)}")
        if self.deploy_error:
            raise self.deploy_error

    def look(self, name: str) -> Progress:
        seen = self.progresses[name]
        return seen.pop(0) if len(seen) > 1 else seen[0]

    def fetch_logs(self, name: str, folder: Path) -> None:
        self.log.append(f"logs {name}")

    def destroy(self, record: Record) -> None:
        self.log.append(f"destroy {' '.join(record.deployed)}")
        record.deployed = []

    def executors(self) -> Executors:
        return Executors(here=self, fleets=self, functions=self, destroy=self.destroy)  # type: ignore[arg-type]
