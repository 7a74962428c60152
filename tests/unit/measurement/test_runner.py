"""Runs: written after every scenario, resumable, with failures as results."""

from __future__ import annotations

import io
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from runtime.contract import Env, Scope
from runtime.inference.artifact import Artifact
from runtime.measurement import machine
from runtime.measurement.__main__ import earlier, main
from runtime.measurement.errors import MeasurementError, WorkloadError
from runtime.measurement.limit import peak_flop_per_second
from runtime.measurement.loadgen import Limits
from runtime.measurement.results import BucketSink, FolderSink, Measurement, RunResult
from runtime.measurement.runner import Plan, calibrate, run
from runtime.measurement.scenario import Scenario
from runtime.measurement.statistics import Mark
from runtime.measurement.workload import check_memory, load
from tests.unit.measurement.conftest import SUBJECT, FakeClock, Toil

DOG = Path(__file__).parents[3] / "samples" / "dog.jpg"
LIMITS = Limits(seconds=0.02, queries=5, most_seconds=5)


def blank() -> RunResult:
    return RunResult(
        run="test",
        instance_type=None,
        image=None,
        machine=machine.describe(),
        versions={"python": "3"},
        subject=asdict(SUBJECT),
    )


def plan(*names: str) -> Plan:
    return Plan([Scenario.parse(name) for name in names], [Scope.PICTURE], LIMITS)


class Memory:
    """A sink that remembers how many measurements each write held."""

    def __init__(self) -> None:
        self.writes: list[tuple[int, bool]] = []

    def write(self, result: RunResult) -> None:
        self.writes.append((len(result.measurements), result.finished))


def test_the_result_is_written_after_every_scenario(clock: FakeClock, tmp_path: Path) -> None:
    sink = Memory()
    result = run(
        plan("camera:10", "camera:20", "single-stream"),
        {Scope.PICTURE: Toil(clock, [0.01])},
        blank(),
        sinks=[sink],
        logs=tmp_path / "loadgen",
        clock=clock,
    )
    assert sink.writes == [(1, False), (2, False), (3, False), (3, True)]
    assert [m.status for m in result.measurements] == ["measured"] * 3
    assert result.measurements[2].loadgen is not None
    assert result.measurements[2].loadgen["logs"] == "loadgen/picture-single-stream"


def test_a_scenario_that_fails_is_a_row_and_the_next_one_still_runs(
    clock: FakeClock, tmp_path: Path
) -> None:
    class Moody(Toil):
        def run(self, pictures: int) -> None:
            self.fails_at = self.runs if 10 < self.runs < 12 else None
            self.runs += 10 < self.runs < 12
            super().run(pictures)

    result = run(
        plan("camera:10", "camera:20"),
        {Scope.PICTURE: Moody(clock, [0.01])},
        blank(),
        sinks=[],
        logs=tmp_path / "l",
        clock=clock,
    )
    first, second = result.measurements
    assert (first.status, first.reason) == ("failed", "the engine gave up")
    assert second.status == "measured"
    assert result.finished


def test_a_run_is_resumed_where_it_stopped_and_failures_are_tried_again(
    clock: FakeClock, tmp_path: Path
) -> None:
    result = blank()
    result.measurements = [
        Measurement(scenario="camera:10", scope="picture", status="measured", pictures=1),
        Measurement(scenario="camera:20", scope="picture", status="failed", reason="x"),
    ]
    told: list[str] = []
    run(
        plan("camera:10", "camera:20", "camera:40"),
        {Scope.PICTURE: Toil(clock, [0.001])},
        result,
        sinks=[],
        logs=tmp_path / "l",
        clock=clock,
        tell=lambda m: told.append(m.scenario),
    )
    assert told == ["camera:20", "camera:40"]
    assert sorted(m.scenario for m in result.measurements) == [
        "camera:10",
        "camera:20",
        "camera:40",
    ]
    assert all(m.status == "measured" for m in result.measurements)


def test_a_clock_that_is_set_while_measuring_is_marked(clock: FakeClock, tmp_path: Path) -> None:
    class Midnight(Toil):
        def run(self, pictures: int) -> None:
            super().run(pictures)
            clock.offset += 86_400 if self.runs == 12 else 0

    result = run(
        plan("camera:10"),
        {Scope.PICTURE: Midnight(clock, [0.01])},
        blank(),
        sinks=[],
        logs=tmp_path / "l",
        clock=clock,
    )
    summary = result.measurements[0].latency_s
    assert summary is not None
    assert Mark.CLOCK_JUMP in summary.marks
    assert summary.maximum < 1


def test_calibration_is_the_median_of_runs_after_warming_up(clock: FakeClock) -> None:
    toil = Toil(clock, [5.0, 5.0, 5.0, 0.01, 0.01, 0.02, 0.01, 0.5])
    assert calibrate(toil, clock) == pytest.approx(0.01)


def test_results_survive_json(clock: FakeClock, tmp_path: Path) -> None:
    result = run(
        plan("camera:10"),
        {Scope.PICTURE: Toil(clock, [0.01])},
        blank(),
        sinks=[FolderSink(tmp_path)],
        logs=tmp_path / "l",
        clock=clock,
    )
    read = RunResult.from_json(json.loads((tmp_path / "result.json").read_text()))
    assert read.to_json() == result.to_json()
    assert read.measurements[0].images_per_second == pytest.approx(10.0)


def test_a_result_of_another_schema_or_a_damaged_one_is_refused() -> None:
    with pytest.raises(MeasurementError, match="schema 99"):
        RunResult.from_json({"schema": 99})
    with pytest.raises(MeasurementError, match="damaged"):
        RunResult.from_json({"schema": 1, "run": "x"})


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(MeasurementError, match="could not be written"):
        FolderSink(tmp_path / "file").write(blank())


class FakeS3:
    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.puts: list[str] = []

    def put_object(self, **kwargs: Any) -> None:
        self.objects[kwargs["Key"]] = kwargs["Body"]
        self.puts.append(kwargs["Key"])


def test_a_bucket_gets_loadgens_logs_once_and_the_result_each_time(tmp_path: Path) -> None:
    logs = tmp_path / "loadgen"
    (logs / "picture-offline").mkdir(parents=True)
    (logs / "picture-offline" / "mlperf_log_summary.txt").write_text("Result is : VALID")
    s3 = FakeS3()
    sink = BucketSink(s3, bucket="b", run="latest", name="g6.xlarge", logs=logs)
    sink.write(blank())
    sink.write(blank())
    log = "results/latest/g6.xlarge/loadgen/picture-offline/mlperf_log_summary.txt"
    assert s3.puts == [
        log,
        "results/latest/g6.xlarge/result.json",
        "results/latest/g6.xlarge/result.json",
    ]
    assert json.loads(s3.objects["results/latest/g6.xlarge/result.json"])["run"] == "test"


def test_a_model_is_measured_at_both_depths(tiny_classifier: Artifact) -> None:
    workloads = load(tiny_classifier.folder, DOG, engine="onnxruntime", threads=1)
    subject = workloads[Scope.NETWORK].subject
    assert subject.model == "means"
    assert subject.engine == "onnxruntime"
    assert len(subject.picture_sha256) == 64
    for workload in workloads.values():
        workload.run(1)
        workload.run(3)


def test_a_model_too_big_for_the_memory_is_refused_before_it_is_loaded(
    tiny_classifier: Artifact,
) -> None:
    with pytest.raises(WorkloadError, match="too big for this machine"):
        check_memory(tiny_classifier.manifest, available=100)


def test_a_missing_model_and_a_missing_picture_are_named(
    tiny_classifier: Artifact, tmp_path: Path
) -> None:
    with pytest.raises(WorkloadError, match="nowhere"):
        load(tmp_path / "nowhere", DOG)
    with pytest.raises(WorkloadError, match=r"absent\.jpg"):
        load(tiny_classifier.folder, tmp_path / "absent.jpg", engine="onnxruntime")
    (tmp_path / "text.jpg").write_text("no picture")
    with pytest.raises(WorkloadError, match="picture"):
        load(tiny_classifier.folder, tmp_path / "text.jpg", engine="onnxruntime")


def test_the_machines_limit_is_measured_where_it_can_be() -> None:
    rate = peak_flop_per_second("onnxruntime", "fp32", size=128)
    assert rate is not None
    assert rate > 1e6
    assert peak_flop_per_second("onnxruntime", "int8", size=128) is None


def command(artifact: Artifact, out: Path, *more: str) -> list[str]:
    return [
        "--model",
        str(artifact.folder),
        "--picture",
        str(DOG),
        "--engine",
        "onnxruntime",
        "--out",
        str(out),
        "--seconds",
        "0.02",
        "--queries",
        "5",
        "--no-limit",
        *more,
    ]


def test_the_program_measures_writes_and_resumes(
    tiny_classifier: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("VISIONSTACK_ARTIFACTS_BUCKET", raising=False)
    out = tmp_path / "out"
    assert main(command(tiny_classifier, out, "--scenario", "single-stream")) == 0
    first = json.loads((out / "result.json").read_text())
    assert [(m["scenario"], m["scope"]) for m in first["measurements"]] == [
        ("single-stream", "picture"),
        ("single-stream", "network"),
    ]
    again = command(tiny_classifier, out, "--scenario", "single-stream", "--scenario", "offline")
    assert main(again) == 0
    second = json.loads((out / "result.json").read_text())
    assert second["measurements"][0] == first["measurements"][0]
    assert len(second["measurements"]) == 4


def test_the_program_refuses_to_mix_two_pictures_in_one_result(
    tiny_classifier: Artifact, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(command(tiny_classifier, out, "--scenario", "single-stream")) == 0
    other = command(tiny_classifier, out, "--picture", str(DOG.with_name("person.jpg")))
    assert main(other) == 1
    assert "another model, version, engine or picture" in capsys.readouterr().err


def test_a_model_that_cannot_be_loaded_is_a_result_that_says_so(
    tiny_classifier: Artifact, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny_classifier.model_path.write_bytes(b"damaged")
    out = tmp_path / "out"
    assert main(command(tiny_classifier, out, "--scenario", "offline")) == 1
    assert "damaged" in capsys.readouterr().err
    value = json.loads((out / "result.json").read_text())
    assert value["finished"]
    assert "damaged" in value["failure"]


def test_a_wrong_scenario_and_a_missing_picture_end_with_a_sentence(
    tiny_classifier: Artifact, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(tiny_classifier, tmp_path / "o", "--scenario", "burst")) == 1
    assert "'burst'" in capsys.readouterr().err
    with pytest.raises(SystemExit) as ended:
        main(["--picture", str(DOG)])
    assert ended.value.code == 2


def test_a_damaged_earlier_result_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    path.write_text("{")
    with pytest.raises(MeasurementError, match="cannot be read"):
        earlier(path, "x")
    assert earlier(tmp_path / "absent.json", "x") is None


class Bucket(FakeS3):
    """Objects by key, as an instance reads and writes them."""

    def get_object(self, **request: Any) -> dict[str, Any]:
        return {"Body": io.BytesIO(self.objects[request["Key"]])}

    def list_objects_v2(self, **request: Any) -> dict[str, Any]:
        return {"Contents": [{"Key": k} for k in self.objects if k.startswith(request["Prefix"])]}

    def download_file(self, bucket: str, key: str, path: str) -> None:
        Path(path).write_bytes(self.objects[key])


def test_an_instance_takes_all_it_needs_from_its_environment_and_the_bucket(
    tiny_classifier: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3 = Bucket()
    version = tiny_classifier.manifest.version
    for path in tiny_classifier.folder.iterdir():
        s3.objects[f"models/means/{version}/{path.name}"] = path.read_bytes()
    s3.objects["models/means/current"] = version.encode()
    s3.objects["results/latest/picture/dog.jpg"] = DOG.read_bytes()
    monkeypatch.setattr("runtime.measurement.__main__._s3", lambda: s3)
    for name, value in {
        Env.MODEL: "means,other",
        Env.ARTIFACTS_BUCKET: "bucket",
        Env.ENGINE: "onnxruntime",
        Env.INSTANCE_TYPE: "c7i.xlarge",
        Env.IMAGE_ID: "ami-1",
        Env.MEASURE_SCENARIOS: "single-stream,camera:100",
        Env.MEASURE_SCOPES: "picture",
        Env.MEASURE_SECONDS: "0.05",
    }.items():
        monkeypatch.setenv(name, value)
    assert main(["--out", str(tmp_path / "out"), "--no-limit"]) == 0
    written = json.loads(s3.objects["results/latest/c7i.xlarge/result.json"])
    assert (written["instance_type"], written["image"]) == ("c7i.xlarge", "ami-1")
    assert [(m["scenario"], m["scope"]) for m in written["measurements"]] == [
        ("single-stream", "picture"),
        ("camera:100", "picture"),
    ]
    assert written["finished"]
    logs = [key for key in s3.objects if key.endswith("mlperf_log_summary.txt")]
    own = "results/latest/c7i.xlarge/loadgen/"
    assert logs == [f"{own}picture-single-stream/mlperf_log_summary.txt"]


def test_a_run_without_its_picture_in_the_bucket_says_where_it_looked(
    tiny_classifier: Artifact,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("runtime.measurement.__main__._s3", Bucket)
    monkeypatch.setenv(Env.ARTIFACTS_BUCKET, "bucket")
    monkeypatch.setenv(Env.MODEL, str(tiny_classifier.folder))
    assert main(["--out", str(tmp_path / "out"), "--no-limit"]) == 1
    assert "s3://bucket/results/latest/picture/ holds 0 pictures" in capsys.readouterr().err
