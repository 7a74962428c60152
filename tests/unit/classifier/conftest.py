"""A classifier function on fakes: real artifact and decoder, fake engine, pictures in memory."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from runtime.classifier.environment import ExecutionEnvironment
from runtime.classifier.errors import NotFoundError, TooLargeError, UnavailableError
from runtime.classifier.function import Function
from runtime.classifier.metrics import CallLog
from runtime.classifier.model import ModelHost, ServedModel
from runtime.classifier.s3 import PresignedPost
from runtime.classifier.service import ClassifierService
from runtime.classifier.storage import Told
from runtime.contract import MAX_PICTURE_BYTES
from runtime.inference.artifact import (
    Artifact,
    FileEntry,
    InputSpec,
    Manifest,
    Preprocessing,
    Weights,
)
from runtime.inference.classification import Classifier
from runtime.inference.errors import InferenceError
from runtime.inference.store import Canary, Current

LABELS = ["tench", "goldfish", "shark", "ray", "cock", "hen", "ostrich"]


class FakeEngine:
    """Logits that favour the class whose number is the mean brightness over 36."""

    name = "fake"
    precision = "fp32"
    device = "none"
    on_gpu = False

    def __init__(self) -> None:
        self.runs = 0
        self.failure: Exception | None = None

    def run(self, batch: np.ndarray) -> list[np.ndarray]:
        self.runs += 1
        if self.failure is not None:
            raise self.failure
        favourite = (batch.mean(axis=(1, 2, 3)) / 36).astype(int)
        classes = np.arange(len(LABELS))
        return [-np.abs(classes[None] - favourite[:, None]).astype(np.float32)]


class MemoryPictures:
    """Pictures and results in dictionaries; `down` makes every call fail as S3 would."""

    def __init__(self) -> None:
        self.pictures: dict[str, bytes] = {}
        self.results: dict[str, bytes] = {}
        self.down = self.not_kept = False
        self.kept: dict[str, tuple[bytes, Told]] = {}

    def fetch(self, file_path: str) -> bytes:
        self._check()
        if file_path not in self.pictures:
            raise NotFoundError(f"there is no picture under file_path {file_path!r}")
        if len(self.pictures[file_path]) > MAX_PICTURE_BYTES:
            raise TooLargeError("too large")
        return self.pictures[file_path]

    def keep(self, file_path: str, data: bytes, *, content_type: str) -> None:
        self._check()
        self.pictures[file_path] = data

    def upload(self, file_path: str, *, content_type: str) -> PresignedPost:
        self._check()
        return PresignedPost("http://127.0.0.1/pictures/", {"key": file_path})

    def keep_for_training(self, file_path: str, data: bytes, told: Told) -> None:
        self._check()
        if self.not_kept:
            raise UnavailableError("the picture could not be kept")
        self.kept[file_path] = (data, told)

    def write_results(self, key: str, lines: bytes) -> None:
        self._check()
        self.results[key] = lines

    def _check(self) -> None:
        if self.down:
            raise UnavailableError("the picture storage failed")


class MemoryModels:
    """Versions that can be published, damaged and counted."""

    def __init__(self, load: Callable[[str, bool], ServedModel]) -> None:
        self.current = "v1"
        self.canary: Canary | None = None
        self.packaged: str | None = None
        self.damaged: set[str] = set()
        self.loads = 0
        self._load = load

    def packaged_version(self) -> str | None:
        return self.packaged

    def wanted(self) -> Current:
        if not self.current:
            raise InferenceError("there is no model")
        return Current(self.current, self.canary)

    def load(self, version: str, *, optimised: bool) -> ServedModel:
        self.loads += 1
        if version in self.damaged:
            raise InferenceError(f"{version} is damaged")
        return self._load(version, optimised)


def toy_artifact(folder: Path) -> Artifact:
    """A classifier of `LABELS` whose network is not run."""
    files = {"model.onnx": b"not run", "labels.txt": "\n".join(LABELS).encode()}
    for name, content in files.items():
        (folder / name).write_bytes(content)
    manifest = Manifest(
        name="toy",
        task="classify",
        family="classifier",
        input=InputSpec(width=8, height=8, colour="RGB"),
        preprocessing=Preprocessing(kind="crop", resize=8),
        weights=Weights(trained=False, description="a fake"),
        source="tests",
        licence="none",
        files={
            name: FileEntry(sha256=hashlib.sha256(content).hexdigest(), bytes=len(content))
            for name, content in files.items()
        },
    )
    return Artifact(folder, manifest)


@pytest.fixture
def artifact(tmp_path: Path) -> Artifact:
    return toy_artifact(tmp_path)


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


def toy_models(artifact: Artifact, engine: FakeEngine) -> MemoryModels:
    classifier = Classifier(artifact, engine)

    def load(version: str, optimised: bool) -> ServedModel:
        return ServedModel(
            classifier=classifier,
            name="toy",
            version=version,
            trained=False,
            engine="fake",
            precision="fp32",
            download_ms=1.0,
            load_ms=2.0,
            optimised=optimised,
        )

    return MemoryModels(load)


@pytest.fixture
def models(artifact: Artifact, engine: FakeEngine) -> MemoryModels:
    return toy_models(artifact, engine)


@pytest.fixture
def pictures() -> MemoryPictures:
    return MemoryPictures()


@pytest.fixture
def logged() -> list[dict[str, Any]]:
    return []


@pytest.fixture
def host(models: MemoryModels) -> ModelHost:
    return ModelHost(models)


@pytest.fixture
def environment() -> ExecutionEnvironment:
    return ExecutionEnvironment({}, started=0.0, clock=lambda: 0.5)


@pytest.fixture
def service(
    host: ModelHost, pictures: MemoryPictures, environment: ExecutionEnvironment
) -> ClassifierService:
    return ClassifierService(
        models=host,
        pictures=pictures,
        environment=environment,
        upload_expires_seconds=300,
        sleep=lambda seconds: None,
    )


@pytest.fixture
def function(
    service: ClassifierService,
    host: ModelHost,
    environment: ExecutionEnvironment,
    logged: list[dict[str, Any]],
) -> Function:
    log = CallLog(
        function_name="f", clock=lambda: 1.0, write=lambda line: logged.append(json.loads(line))
    )
    made = Function(service=service, models=host, environment=environment, log=log)
    made.initialise()
    return made


@pytest.fixture
def picture() -> Callable[..., bytes]:
    """Makes picture files: `picture(brightness, size=…, kind=…, mode=…)`."""

    def make(
        brightness: int = 100,
        *,
        size: tuple[int, int] = (20, 10),
        kind: str = "JPEG",
        mode: str = "L",
    ) -> bytes:
        buffer = io.BytesIO()
        Image.new("L", size, brightness).convert(mode).save(buffer, kind)
        return buffer.getvalue()

    return make
