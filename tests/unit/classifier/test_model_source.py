"""Where the function's models come from: its package, and what was published."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import onnx
import pytest
from PIL import Image

from runtime.classifier.errors import ModelUnavailableError
from runtime.classifier.model import ModelHost, PublishedModelSource
from runtime.inference.artifact import Artifact, file_entry
from runtime.inference.errors import ArtifactMissingError, DecodedTooLargeError
from runtime.inference.store import Current


class EmptyStore:
    """An artifacts bucket in which nothing was published."""

    def current(self, name: str) -> Current:
        raise ArtifactMissingError(f"{name} was not published")


def packaged(artifact: Artifact, into: Path) -> Path:
    """The artifact as a function's package has it."""
    (artifact.folder / "model.onnx").write_bytes(mean_colour_model())
    entry = file_entry(artifact.folder / "model.onnx")
    files = {**artifact.manifest.files, "model.onnx": entry}
    manifest = artifact.manifest._replace(files=files)
    (artifact.folder / "model.json").write_text(manifest.to_json())
    shutil.copytree(artifact.folder, into / "toy" / manifest.version)
    (into / "toy" / "current").write_text(f"{manifest.version}\n")
    return into


def test_a_packaged_model_that_was_never_published_is_current(
    artifact: Artifact, tmp_path_factory: pytest.TempPathFactory
) -> None:
    source = PublishedModelSource(
        EmptyStore(),  # type: ignore[arg-type]
        packaged=packaged(artifact, tmp_path_factory.mktemp("package")),
        name="toy",
        scratch=tmp_path_factory.mktemp("scratch"),
        engine="onnxruntime",
        threads=1,
        memory_mb=3008,
    )
    version = source.wanted().version
    assert version == source.packaged_version()
    served = source.load(version, optimised=False)
    assert (served.version, served.download_ms) == (version, 0.0)
    served.exercise()


@pytest.mark.parametrize(("memory_mb", "refused"), [(100_000, False), (128, True)])
def test_a_picture_that_the_functions_memory_does_not_hold_is_refused(
    artifact: Artifact,
    tmp_path_factory: pytest.TempPathFactory,
    memory_mb: int,
    refused: bool,
) -> None:
    """Lambda would end the environment: the call fails, and the next one waits for another."""
    source = PublishedModelSource(
        EmptyStore(),  # type: ignore[arg-type]
        packaged=packaged(artifact, tmp_path_factory.mktemp("package")),
        name="toy",
        scratch=tmp_path_factory.mktemp("scratch"),
        engine="onnxruntime",
        threads=1,
        memory_mb=memory_mb,
    )
    served = source.load(source.wanted().version, optimised=False)
    served.exercise()
    file = io.BytesIO()
    Image.new("RGBA", (1500, 1500)).save(file, "PNG")
    if refused:
        with pytest.raises(DecodedTooLargeError):
            served.classifier.prepare(file.getvalue())
    else:
        served.classifier.prepare(file.getvalue())


def test_without_a_packaged_or_a_published_model_the_error_says_so(tmp_path: Path) -> None:
    source = PublishedModelSource(
        EmptyStore(),  # type: ignore[arg-type]
        packaged=tmp_path / "models",
        name="toy",
        scratch=tmp_path,
        engine="onnxruntime",
        threads=1,
        memory_mb=3008,
    )
    assert source.packaged_version() is None
    with pytest.raises(ModelUnavailableError, match="toy was not published"):
        ModelHost(source).current()


class CopyingStore:
    """Pulls from a folder, as ModelStore does from S3."""

    def __init__(self, artifact: Artifact) -> None:
        self._artifact = artifact

    def pull(self, name: str, into: Path, *, version: str) -> Artifact:
        return Artifact.load(Path(shutil.copytree(self._artifact.folder, into / name / version)))


def mean_colour_model() -> bytes:
    """Logits that are the picture's mean red, green and blue."""
    nodes = [
        onnx.helper.make_node("Cast", ["pictures"], ["floats"], to=onnx.TensorProto.FLOAT),
        onnx.helper.make_node("ReduceMean", ["floats", "axes"], ["logits"], keepdims=0),
    ]
    pictures = onnx.helper.make_tensor_value_info(
        "pictures", onnx.TensorProto.UINT8, [None, 8, 8, 3]
    )
    logits = onnx.helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, [None, 3])
    axes = onnx.helper.make_tensor("axes", onnx.TensorProto.INT64, [2], [1, 2])
    graph = onnx.helper.make_graph(nodes, "mean-colour", [pictures], [logits], [axes])
    opset = onnx.helper.make_opsetid("", 18)
    model = onnx.helper.make_model(graph, opset_imports=[opset], ir_version=9)
    return bytes(model.SerializeToString())


def test_a_pulled_model_leaves_no_file_behind_and_is_still_served(
    artifact: Artifact, tmp_path_factory: pytest.TempPathFactory
) -> None:
    (artifact.folder / "model.onnx").write_bytes(mean_colour_model())
    entry = file_entry(artifact.folder / "model.onnx")
    files = {**artifact.manifest.files, "model.onnx": entry}
    manifest = artifact.manifest._replace(files=files)
    (artifact.folder / "model.json").write_text(manifest.to_json())
    scratch = tmp_path_factory.mktemp("scratch")
    source = PublishedModelSource(
        CopyingStore(artifact),  # type: ignore[arg-type]
        packaged=scratch / "none",
        name="toy",
        scratch=scratch,
        engine="onnxruntime",
        threads=1,
        memory_mb=3008,
    )
    served = source.load(manifest.version, optimised=False)
    assert list(scratch.iterdir()) == []
    assert (served.version, served.engine) == (manifest.version, "onnxruntime")
    served.exercise()
