"""int8 of classifiers: recorded beside fp32, taken by the function when sound, refused broken."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from runtime.classifier.model import PublishedModelSource
from runtime.inference.artifact import Artifact, Measured, Preprocessing, Weights
from runtime.inference.engines import create_engine
from runtime.inference.engines.precisions import fastest_measured
from runtime.inference.engines.processor import instructions
from runtime.inference.errors import EngineUnavailableError
from runtime.inference.store import ModelStore
from tests.unit.fake_s3 import FakeS3
from tests.unit.models.conftest import wreck_scales
from tests.unit.training.conftest import fill
from visionstack.accuracy.quantized import Quantized, sentence
from visionstack.models.building import write_artifact
from visionstack.models.draft import RECORD, Draft
from visionstack.models.errors import ModelError
from visionstack.models.quantizing import INT8, with_int8
from visionstack.training import quantizing
from visionstack.training.dataset import read_dataset
from visionstack.training.errors import ProductsError, TrainingError
from visionstack.training.products import list_products
from visionstack.training.quantizing import quantize_classifier, record_classifier

NAME = "tints"
SIDE = 32
PRODUCTS = ("blue", "green", "red", "sand")


@pytest.fixture(scope="module")
def products(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fill(tmp_path_factory.mktemp("data") / "products", dict.fromkeys(PRODUCTS, 60))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, products: Path) -> Path:
    """Two convolutions and a product that was fitted to the means of what they give."""
    root = tmp_path_factory.mktemp("models")
    dataset = read_dataset(list_products(products), root / "squares", size=SIDE, seed=3)
    body = network(None)
    session = create_session(body)
    given = dataset.train.pixels(np.arange(len(dataset.train)))
    features = session.run(None, {"pictures": given})[0]
    wanted = np.eye(len(PRODUCTS), dtype=np.float32)[dataset.train.product]
    scaled = np.hstack([features, np.ones((len(features), 1), np.float32)])
    solved = np.linalg.lstsq(scaled, wanted, rcond=None)[0].astype(np.float32)
    draft = Draft(
        model=network(20 * solved),
        task="classify",
        family="classifier",
        size=SIDE,
        preprocessing=Preprocessing(kind="crop", resize=SIDE, interpolation="bicubic"),
        labels=dataset.labels,
        weights=Weights(trained=True, description="least squares"),
        source="tests",
        licence="AGPL-3.0",
        extra={RECORD: json.dumps({"products": dataset.to_json()})},
    )
    write_artifact(NAME, draft, root=root, say=lambda _: None)
    return root


def network(last: np.ndarray | None) -> onnx.ModelProto:
    generator = np.random.default_rng(5)

    def weights(name: str, *shape: int) -> onnx.TensorProto:
        scale = 2 / np.sqrt(np.prod(shape[1:]))
        return numpy_helper.from_array(generator.normal(0, scale, shape).astype(np.float32), name)

    nodes = [
        helper.make_node("Transpose", ["pictures"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["planes"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["floats", "scale"], ["scaled"]),
        helper.make_node("Conv", ["scaled", "w1"], ["c1"], name="c1", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c1"], ["r1"], name="r1"),
        helper.make_node("Conv", ["r1", "w2"], ["c2"], name="c2", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c2"], ["r2"], name="r2"),
        helper.make_node("GlobalAveragePool", ["r2"], ["means"], name="means"),
        helper.make_node("Flatten", ["means"], ["flat"]),
    ]
    constants = [
        numpy_helper.from_array(np.array(1 / 255, np.float32), "scale"),
        weights("w1", 16, 3, 3, 3),
        weights("w2", 32, 16, 3, 3),
    ]
    output, width = "flat", 32
    if last is not None:
        nodes.append(helper.make_node("Gemm", ["flat", "last", "bias"], ["logits"], name="last"))
        constants.append(numpy_helper.from_array(last[:-1].astype(np.float32), "last"))
        constants.append(numpy_helper.from_array(last[-1].astype(np.float32), "bias"))
        output, width = "logits", last.shape[1]
    graph = helper.make_graph(
        nodes,
        "tints",
        [helper.make_tensor_value_info("pictures", TensorProto.UINT8, ["batch", SIDE, SIDE, 3])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["batch", width])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    return model


def create_session(model: onnx.ModelProto):  # type: ignore[no-untyped-def]
    import onnxruntime

    return onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )


@pytest.fixture(scope="module")
def base(models: Path) -> Artifact:
    return current(models)


@pytest.fixture(scope="module")
def quantized(base: Artifact, models: Path, products: Path) -> Quantized:
    assert not base.manifest.int8
    return quantize_classifier(NAME, pictures=products, models=models, runs=models / "runs")


def current(models: Path) -> Artifact:
    return Artifact.load(models / NAME / (models / NAME / "current").read_text().strip())


def test_int8_is_recorded_with_accuracy_agreement_and_time_and_computed(
    base: Artifact, models: Path, quantized: Quantized
) -> None:
    artifact = current(models)
    assert artifact.manifest == quantized.artifact.manifest
    assert artifact.manifest.version != base.manifest.version
    rows = {row.precision: row for row in artifact.manifest.measured}
    for row in rows.values():
        assert (row.metric, row.engine, row.instructions) == (
            "top 1",
            "onnxruntime",
            instructions(),
        )
        # Those of the split that the network was not fitted to, as its record says.
        assert row.labels == "products, validation and test part"
        assert row.pictures == 72
        assert row.low is not None
        assert row.high is not None
        assert row.low < row.accuracy <= row.high
        assert row.milliseconds > 0
    assert rows["fp32"].accuracy > 0.9
    assert rows["int8"].accuracy >= rows["fp32"].accuracy - 0.02
    assert "top 1" in sentence(quantized)

    exact = create_engine("onnxruntime", artifact, precision="fp32")
    narrow = create_engine("onnxruntime", artifact, precision="int8")
    assert (exact.precision, narrow.precision) == ("fp32", "int8")
    assert create_engine("onnxruntime", artifact).precision == quantized.taken
    picture = np.random.default_rng(1).integers(0, 255, (1, SIDE, SIDE, 3), np.uint8)
    difference = np.abs(exact.run(picture)[0] - narrow.run(picture)[0]).max()
    assert 1e-4 < difference < 5  # another computation, of the same network


def test_convolutions_are_quantized_with_their_inputs_and_the_last_product_is_not(
    quantized: Quantized,
) -> None:
    path = quantized.artifact.int8_path
    assert path is not None
    graph = onnx.load(path).graph
    made_by = {name: node.op_type for node in graph.node for name in node.output}
    for node in graph.node:
        if node.op_type == "Conv":
            assert {made_by[name] for name in node.input[:2]} == {"DequantizeLinear"}
        if node.op_type == "Gemm":
            assert made_by.get(node.input[1]) is None


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("labelled", [True, False])
def test_int8_with_wrecked_scales_is_refused_however_fast(  # noqa: PLR0917 - fixtures
    base: Artifact,
    quantized: Quantized,
    products: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    seed: int,
    labelled: bool,
) -> None:
    wreck_scales(quantized.artifact.folder / INT8, tmp_path / INT8, seed=seed)
    monkeypatch.setattr(quantizing, "milliseconds", lambda *_: [10.0, 1.0])
    home = tmp_path / "models" / NAME
    shutil.copytree(base.folder, home / base.folder.name)
    found = quantizing._by_parts(list_products(products))
    if not labelled:
        found = without_labels(found)
    refused = record_classifier(Artifact.load(home / base.folder.name), tmp_path / INT8, found)
    assert refused.artifact.manifest.measured[1].milliseconds == 1
    assert refused.taken == "fp32"
    assert "refused" in sentence(refused)
    assert served(refused.artifact).precision == "fp32"


def without_labels(found: quantizing._Pictures) -> quantizing._Pictures:
    scored = [quantizing._Picture(one.path, one.read) for one in found.scored]
    return quantizing._Pictures(name=found.name, calibrating=found.calibrating, scored=scored)


def served(artifact: Artifact, *, optimised: bool = False):  # type: ignore[no-untyped-def]
    """As the function loads it from its package."""
    home = artifact.folder.parent
    (home / "current").write_text(artifact.manifest.version + "\n")
    source = PublishedModelSource(
        ModelStore(FakeS3(), "bucket"),
        packaged=home.parent,
        name=home.name,
        scratch=home,
        engine="onnxruntime",
        threads=1,
        memory_mb=3008,
    )
    model = source.load(artifact.manifest.version, optimised=optimised)
    model.exercise()
    return model


MakeRows = Callable[..., Artifact]


@pytest.fixture
def with_rows(base: Artifact, quantized: Quantized, tmp_path: Path) -> MakeRows:
    """The artifact as if measured: fp32 in 10 ms and int8 in 5, both right in 0.9 of all."""

    def make(**changed: object) -> Artifact:
        home = tmp_path / NAME
        shutil.copytree(base.folder, home / base.folder.name)
        plain = Artifact.load(home / base.folder.name)
        graph = quantized.artifact.folder / INT8
        files = with_int8(plain, graph).manifest.files
        rows = [
            Measured(
                precision=precision,
                sha256=files[file].sha256,
                engine="onnxruntime",
                instructions=instructions(),
                metric="top 1",
                accuracy=0.9,
                milliseconds=milliseconds,
                labels="labels",
                agreement=1.0,
            )
            for precision, file, milliseconds in (
                ("fp32", base.manifest.model, 10.0),
                ("int8", INT8, 5.0),
            )
        ]
        rows[1] = rows[1]._replace(**changed)
        return with_int8(plain, graph, rows)

    return make


@pytest.mark.parametrize(
    ("changed", "taken"),
    [
        ({}, "int8"),
        ({"accuracy": 0.885, "agreement": 0.95}, "int8"),
        ({"accuracy": 0.87}, "fp32"),
        ({"agreement": 0.89}, "fp32"),  # as accurate by chance
        ({"accuracy": float("nan")}, "fp32"),
        ({"milliseconds": 10.5}, "fp32"),
        ({"sha256": "0" * 64}, "fp32"),  # measured on another file
        ({"instructions": "another processor's"}, "fp32"),  # or another processor
        ({"engine": "openvino"}, "fp32"),
    ],
)
def test_the_function_takes_int8_where_it_is_faster_and_sound(
    with_rows: MakeRows, changed: dict[str, object], taken: str
) -> None:
    model = served(with_rows(**changed))
    assert model.precision == taken
    # One load for both: there is no slower start to leave behind.
    assert model.optimised == (taken == "int8")


def test_versions_of_artifacts_without_the_new_figures_stand(base: Artifact) -> None:
    row = Measured("fp32", "0" * 64, "openvino", "x86_64", "AP50", 0.5, 10.0, "labels")
    plain = json.loads(base.manifest._replace(measured=(row,)).to_json())["measured"][0]
    assert set(plain) == set(row._fields) - {"low", "high", "agreement", "pictures"}


def test_pictures_without_classes_are_scored_by_agreement(
    base: Artifact, products: Path, tmp_path: Path
) -> None:
    home = tmp_path / "models" / NAME
    shutil.copytree(base.folder, home / base.folder.name)
    (home / "current").write_text(base.manifest.version)
    flat = tmp_path / "flat"
    flat.mkdir()
    for file in products.rglob("*.png"):
        shutil.copy(file, flat / f"{file.parent.name}-{file.name}")
    (flat / "broken.png").write_bytes(b"no picture")
    found = quantize_classifier(NAME, pictures=flat, models=home.parent, runs=tmp_path)
    exact, narrow = found.artifact.manifest.measured
    assert (exact.metric, exact.accuracy, exact.pictures) == ("agreement", 1.0, 120)
    assert narrow.accuracy == narrow.agreement
    assert narrow.accuracy > 0.9
    assert found.taken == fastest_measured(
        found.artifact.manifest, engine="onnxruntime", instructions=instructions()
    )


def test_what_cannot_be_measured_is_refused_with_what_to_do(
    base: Artifact, models: Path, products: Path, tmp_path: Path
) -> None:
    with pytest.raises(ProductsError, match="was trained on products"):
        quantize_classifier(NAME, models=models)
    few = tmp_path / "few"
    few.mkdir()
    for number, file in enumerate(sorted(products.rglob("*.png"))[:40]):
        shutil.copy(file, few / f"{number}.png")
    with pytest.raises(TrainingError, match="20 pictures to score with; 30 are needed"):
        quantize_classifier(NAME, pictures=few, models=models)
    for file in sorted(few.iterdir())[10:]:
        file.unlink()
    with pytest.raises(ModelError, match="5 pictures are too few to calibrate with"):
        quantize_classifier(NAME, pictures=few, models=models)
    with pytest.raises(EngineUnavailableError, match=f"models quantize {NAME}"):
        create_engine("onnxruntime", base, precision="int8")
