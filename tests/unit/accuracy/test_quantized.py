"""int8 beside fp32: recorded figures decide what `auto` takes, and a broken variant never is."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.inference.artifact import Artifact, Manifest, Measured
from runtime.inference.engines import create_engine
from runtime.inference.engines.precisions import fastest_measured
from runtime.inference.engines.processor import instructions
from runtime.inference.errors import ArtifactDamagedError, EngineUnavailableError
from runtime.streaming.models import ArtifactSource
from tests.unit.models.conftest import wreck_scales
from visionstack.accuracy.inputs import open_inputs
from visionstack.accuracy.quantized import Quantized, quantize_model, record
from visionstack.models.building import build, current_folder
from visionstack.models.catalog import find_recipe
from visionstack.models.quantizing import INT8
from visionstack.paths import MODELS, SAMPLES


@pytest.fixture(scope="module", autouse=True)
def few_calls() -> Iterator[None]:
    """Times are recorded, not judged: 50 calls of each engine would be most of these tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("visionstack.accuracy.quantized._CALLS", 5)
        yield


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A place of its own with the detector in it, whatever was quantized in the checkout's."""
    home = tmp_path_factory.mktemp("models")
    (MODELS / "cache").mkdir(parents=True, exist_ok=True)
    (home / "cache").symlink_to(MODELS / "cache")
    build(find_recipe("yolov3-tiny"), root=home)
    return home


@pytest.fixture(scope="module")
def base(models: Path) -> Artifact:
    return Artifact.load(current_folder(models, "yolov3-tiny"))


@pytest.fixture(scope="module")
def quantized(models: Path, base: Artifact) -> Quantized:
    assert not base.manifest.int8
    return quantize_model("yolov3-tiny", models=models)


def test_int8_is_in_a_new_version_with_its_figures(
    models: Path, base: Artifact, quantized: Quantized
) -> None:
    artifact = Artifact.load(current_folder(models, "yolov3-tiny"))
    assert artifact.manifest == quantized.artifact.manifest
    assert artifact.manifest.version != base.manifest.version
    rows = {row.precision: row for row in artifact.manifest.measured}
    assert rows["fp32"].accuracy > 0.6
    assert rows["fp32"].accuracy - rows["int8"].accuracy < 0.05
    assert rows["int8"].milliseconds > 0
    assert not build(find_recipe("yolov3-tiny"), root=models).made  # it stays the current one
    assert create_engine("openvino", artifact, precision="int8").precision == "int8"
    assert create_engine("openvino", artifact, precision="fp32").precision == "fp32"
    assert create_engine("openvino", artifact).precision == quantized.taken


@pytest.mark.parametrize("precision", ["int8", "fp32"])
def test_a_server_takes_the_precision_that_is_asked_for(
    models: Path, quantized: Quantized, precision: str
) -> None:
    source = ArtifactSource(folder=models, engine="openvino", precision=precision)
    version = quantized.artifact.manifest.version
    assert source.load("yolov3-tiny", version).offer.precision == precision


def test_a_damaged_int8_is_not_loaded(quantized: Quantized, tmp_path: Path) -> None:
    copy = tmp_path / quantized.artifact.folder.name
    shutil.copytree(quantized.artifact.folder, copy)
    with (copy / INT8).open("ab") as file:
        file.write(b"x")
    with pytest.raises(ArtifactDamagedError, match=INT8):
        Artifact.load(copy)


@pytest.mark.parametrize("seed", range(3))
def test_int8_with_wrecked_scales_is_refused(
    base: Artifact, quantized: Quantized, tmp_path: Path, seed: int
) -> None:
    graph = tmp_path / INT8
    wreck_scales(quantized.artifact.folder / INT8, graph, seed=seed)
    labels = open_inputs(
        SAMPLES / "pedestrians.avi", labels=SAMPLES / "ground_truth_pedestrians.json"
    )
    home = tmp_path / "models" / "yolov3-tiny"
    shutil.copytree(base.folder, home / base.folder.name)
    found = record(Artifact.load(home / base.folder.name), graph, labels)
    assert found.taken != "int8"
    assert create_engine("openvino", found.artifact).precision != "int8"


def manifest_with(quantized: Quantized, **changed: object) -> Manifest:
    """fp32 in 10 ms and int8 in 5, as accurate, with changes to int8's figures."""
    manifest = quantized.artifact.manifest
    rows = [
        Measured(
            precision=precision,
            sha256=manifest.files[file].sha256,
            engine="openvino",
            instructions="x86_64 avx2",
            metric="AP50",
            accuracy=0.7,
            milliseconds=milliseconds,
            labels="labels.json",
        )
        for precision, file, milliseconds in (("fp32", manifest.model, 10), ("int8", INT8, 5))
    ]
    rows[1] = rows[1]._replace(**changed)
    return manifest._replace(measured=tuple(rows))


@pytest.mark.parametrize(
    ("changed", "taken"),
    [
        ({}, "int8"),
        ({"accuracy": 0.685}, "int8"),
        ({"accuracy": 0.67}, "fp32"),
        ({"accuracy": float("nan")}, "fp32"),
        ({"milliseconds": 11}, "fp32"),
        ({"sha256": "0" * 64}, "fp32"),  # measured on another file
        ({"instructions": "x86_64 avx2 avx512_vnni"}, "fp32"),  # or another processor
        ({"engine": "onnxruntime"}, "fp32"),
    ],
)
def test_auto_takes_the_fastest_that_loses_little(
    quantized: Quantized, changed: dict[str, object], taken: str
) -> None:
    manifest = manifest_with(quantized, **changed)
    found = fastest_measured(manifest, engine="openvino", instructions="x86_64 avx2")
    assert found == taken
    assert fastest_measured(manifest, engine="openvino", instructions="arm64") is None
    assert instructions()


def test_int8_that_there_is_not_is_refused(base: Artifact, quantized: Quantized) -> None:
    with pytest.raises(EngineUnavailableError, match="models quantize yolov3-tiny"):
        create_engine("openvino", base, precision="int8")
    with pytest.raises(EngineUnavailableError, match="torch computes no int8"):
        create_engine("torch", quantized.artifact, precision="int8")
    # Measured in OpenVINO alone, it is for those who ask for it by name in ONNX Runtime.
    assert create_engine("onnxruntime", quantized.artifact, precision="int8").precision == "int8"
    assert create_engine("onnxruntime", quantized.artifact).precision == "fp32"
