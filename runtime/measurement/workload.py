"""The measured thing: one model on one engine with one picture, at one of two depths."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from runtime.contract import Scope
from runtime.inference.artifact import Artifact, Manifest
from runtime.inference.errors import InferenceError
from runtime.measurement.errors import WorkloadError

if TYPE_CHECKING:
    from runtime.inference.classification import Classifier
    from runtime.inference.detector import Detector

_MEMORY_FACTOR: Final = 3.0
"""Weights are held as the file's bytes, as the engine's own copy, and beside its activations."""


@dataclass(frozen=True)
class Subject:
    """What was measured; two results may stand in one table only if these agree."""

    model: str
    version: str
    task: str
    weights_trained: bool
    weights: str
    engine: str
    precision: str
    device: str
    flop: int
    """Floating-point operations a picture; 0 if not known."""
    picture: str
    picture_sha256: str


class Workload(Protocol):
    """Work that a scenario repeats."""

    @property
    def subject(self) -> Subject:
        """What is measured."""
        ...

    def run(self, pictures: int) -> None:
        """Do the whole work for that many pictures at once.

        Raises:
            WorkloadError: the engine failed.
        """
        ...


class NetworkWorkload:
    """The engine alone, on a tensor prepared beforehand."""

    def __init__(self, model: Detector | Classifier, subject: Subject, data: bytes) -> None:
        from runtime.inference.detector import Detector

        self.subject = subject
        self._model = model
        self._prepared: Any = (
            model.read(data) if isinstance(model, Detector) else model.prepare(data)
        )

    def run(self, pictures: int) -> None:
        try:
            self._model.infer([self._prepared] * pictures)
        except InferenceError as error:
            raise WorkloadError(f"{self.subject.model}: {error.message}") from error


class PictureWorkload:
    """From a picture file's bytes to detections or the top 5: what a user waits for."""

    def __init__(self, model: Detector | Classifier, subject: Subject, data: bytes) -> None:
        self.subject = subject
        self._model = model
        self._data = data

    def run(self, pictures: int) -> None:
        from runtime.inference.detector import Detector

        try:
            model = self._model
            if isinstance(model, Detector):
                seen = [model.read(self._data) for _ in range(pictures)]
                for raw, prepared in zip(model.infer(seen), seen, strict=True):
                    model.finish(raw, prepared)
            else:
                batch = [model.prepare(self._data) for _ in range(pictures)]
                for logits in model.infer(batch):
                    model.rank(logits)
        except InferenceError as error:
            raise WorkloadError(f"{self.subject.model}: {error.message}") from error


def load(
    folder: Path,
    picture: Path,
    *,
    engine: str = "auto",
    precision: str = "auto",
    threads: int | None = None,
) -> dict[Scope, Workload]:
    """Load the model once, for both depths.

    Raises:
        WorkloadError: the model is damaged, too big for this machine's memory, or does not run on
            that engine; or the picture cannot be read.
    """
    try:
        artifact = Artifact.load(folder)
        check_memory(artifact.manifest)
        model = _model(artifact, engine=engine, precision=precision, threads=threads)
        data = picture.read_bytes()
        subject = describe(model, picture.name, data)
        workloads: dict[Scope, Workload] = {
            Scope.NETWORK: NetworkWorkload(model, subject, data),
            Scope.PICTURE: PictureWorkload(model, subject, data),
        }
    except InferenceError as error:
        raise WorkloadError(error.message) from error
    except OSError as error:
        raise WorkloadError(f"{picture} cannot be read: {error.strerror}.") from error
    except MemoryError as error:
        raise WorkloadError(f"{folder.name} is too big for this machine's memory.") from error
    return workloads


def check_memory(manifest: Manifest, *, available: int | None = None) -> None:
    """Refuse a model that cannot fit before the operating system ends the process for it.

    Raises:
        WorkloadError: about three times its files are more than the memory that is free.
    """
    import psutil

    free = psutil.virtual_memory().available if available is None else available
    size = sum(entry.bytes for entry in manifest.files.values())
    if size * _MEMORY_FACTOR > free:
        raise WorkloadError(
            f"{manifest.name} needs about {size * _MEMORY_FACTOR / 2**20:,.0f} MiB of memory, "
            f"and {free / 2**20:,.0f} MiB are free here: too big for this machine."
        )


def describe(model: Detector | Classifier, picture: str, data: bytes) -> Subject:
    """The subject of a model that is loaded and a picture that is read."""
    manifest = model.manifest
    return Subject(
        model=manifest.name,
        version=manifest.version,
        task=manifest.task,
        weights_trained=manifest.weights.trained,
        weights=manifest.weights.description,
        engine=model.engine.name,
        precision=model.engine.precision,
        device=model.engine.device,
        flop=manifest.flop,
        picture=picture,
        picture_sha256=hashlib.sha256(data).hexdigest(),
    )


def _model(
    artifact: Artifact, *, engine: str, precision: str, threads: int | None
) -> Detector | Classifier:
    from runtime.inference.engines import create_engine

    loaded = create_engine(engine, artifact, precision=precision, threads=threads)
    if artifact.manifest.task == "detect":
        from runtime.inference.detector import Detector

        return Detector(artifact, loaded)
    from runtime.inference.classification import Classifier

    return Classifier(artifact, loaded)
