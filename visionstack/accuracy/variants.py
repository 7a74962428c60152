"""A model on an engine in a precision, and what it answers to pictures, with the time it takes."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from runtime.inference.artifact import Artifact, Manifest
from runtime.inference.classification import Classifier
from runtime.inference.detector import Detector
from runtime.inference.engines import Engine, create_engine
from runtime.inference.errors import InferenceError
from visionstack.accuracy.detection import Found
from visionstack.accuracy.errors import LabelError
from visionstack.accuracy.inputs import Inputs
from visionstack.errors import VisionstackError
from visionstack.models.building import current_folder
from visionstack.paths import MODELS

T = TypeVar("T")
R = TypeVar("R")
LEAST: Final = 0.01
"""Confidence from which detections count for average precision."""
Tell = Callable[[int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """As asked for; `auto` is what the machine does best."""

    model: str
    engine: str = "auto"
    precision: str = "auto"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """Of one variant to all pictures, and which artifact gave them in what time."""

    name: str
    model: str
    version: str
    """Follows from the SHA-256 of every file of the artifact, each of which was checked."""
    engine: str
    precision: str
    trained: bool
    found: tuple[tuple[Found, ...], ...] = ()
    """For detectors."""
    ranked: tuple[tuple[tuple[str, str], ...], ...] = ()
    """For classifiers: (id, name) of the five likeliest classes, best first."""
    milliseconds: tuple[float, ...] = ()
    """From decoded picture to answer, each."""

    @property
    def mean_milliseconds(self) -> float:
        return statistics.fmean(self.milliseconds)


def parse_variant(text: str) -> Variant:
    """`MODEL` or `MODEL:ENGINE`."""
    model, _, engine = text.partition(":")
    return Variant(model=model, engine=engine or "auto")


def variants_of(
    models: Sequence[str], engines: Sequence[str], precisions: Sequence[str]
) -> list[Variant]:
    """Every model on every engine in every precision; `MODEL:ENGINE` has that engine alone."""
    return [
        Variant(model=named.model, engine=engine, precision=precision)
        for text, named in ((text, parse_variant(text)) for text in models)
        for engine in ([named.engine] if ":" in text else engines or ["auto"])
        for precision in precisions or ["auto"]
    ]


def answer(
    variant: Variant, inputs: Inputs, *, models: Path = MODELS, tell: Tell = lambda _: None
) -> Answers:
    """Run a built model over the pictures; `tell` hears how many are done.

    Raises `LabelError` where labels and model do not fit, `VisionstackError` where the model is not
    built or cannot run.
    """
    folder = current_folder(models, variant.model)
    try:
        artifact = Artifact.load(folder)
        _check_task(variant, artifact.manifest.task, inputs)
        engine = create_engine(variant.engine, artifact, precision=variant.precision)
        return run(artifact, engine, inputs, model=variant.model, tell=tell)
    except InferenceError as error:
        raise VisionstackError(f"{variant.model}: {error}") from error


def run(
    artifact: Artifact, engine: Engine, inputs: Inputs, *, model: str, tell: Tell = lambda _: None
) -> Answers:
    """A loaded model's answers. Raises `LabelError` and `InferenceError`."""
    work = _detections if artifact.manifest.task == "detect" else _rankings
    return answers_of(
        artifact.manifest,
        engine,
        name=f"{model} {engine.name} {engine.precision}",
        model=model,
        **work(artifact, engine, inputs, tell),
    )


def answers_of(manifest: Manifest, engine: Engine, **given: Any) -> Answers:
    """Answers of such a model on such an engine; `given` is what else `Answers` holds."""
    return Answers(
        version=manifest.version,
        engine=engine.name,
        precision=engine.precision,
        trained=manifest.weights.trained,
        **given,
    )


def _check_task(variant: Variant, task: str, inputs: Inputs) -> None:
    if task == "detect" and inputs.classes is not None:
        raise LabelError(
            f"{inputs.name} holds a folder a class, which {variant.model}, a detector, cannot be "
            "scored with.",
            remedy="Name a classifier: --model efficientnet-lite0",
        )
    if task == "classify" and (inputs.labels is not None or inputs.clip is not None):
        raise LabelError(
            f"{inputs.name} labels boxes or is a clip, and {variant.model} is a classifier.",
            remedy="Give a folder of pictures for each class.",
        )


def _detections(
    artifact: Artifact, engine: Engine, inputs: Inputs, tell: Tell
) -> dict[str, tuple[Any, ...]]:
    detector = Detector(artifact, engine)
    if inputs.labels is not None:
        inputs.labels.check_classes(detector.labels)
    found, milliseconds = _timed(
        inputs.read(detector.reduction),
        lambda image: tuple(detector.detect([image], confidence=LEAST)[0]),
        tell,
    )
    return {"found": found, "milliseconds": milliseconds}


def _rankings(
    artifact: Artifact, engine: Engine, inputs: Inputs, tell: Tell
) -> dict[str, tuple[Any, ...]]:
    classifier = Classifier(artifact, engine)
    if inputs.classes is not None:
        inputs.classes.check_classes(
            name for label in classifier.labels for name in (label.id, label.name)
        )
    best, milliseconds = _timed(
        (classifier.prepare(file.read_bytes()) for file in inputs.files),
        lambda prepared: classifier.rank(classifier.infer([prepared])[0]),
        tell,
    )
    ranked = tuple(tuple((one.id, one.label) for one in each) for each in best)
    return {"ranked": ranked, "milliseconds": milliseconds}


def _timed(
    pictures: Iterable[T], work: Callable[[T], R], tell: Tell
) -> tuple[tuple[R, ...], tuple[float, ...]]:
    """What each picture gives, and the milliseconds that it takes."""
    results: list[R] = []
    milliseconds: list[float] = []
    for number, picture in enumerate(pictures):
        if not number:
            work(picture)  # the first call of an engine is slower
        began = time.perf_counter()
        results.append(work(picture))
        milliseconds.append(1000 * (time.perf_counter() - began))
        tell(number + 1)
    return tuple(results), tuple(milliseconds)


def check_distinct(answers: Sequence[Answers]) -> None:
    """Raises `VisionstackError` where two variants turned out to be one."""
    seen: set[str] = set()
    for one in answers:
        if one.name in seen:
            raise VisionstackError(
                f"{one.name} was asked for twice.",
                remedy="auto stands for one of the others here: leave one of them out.",
            )
        seen.add(one.name)
