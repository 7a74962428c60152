"""`visionstack models quantize` of a classifier: int8 as the function's engine computes it.

A model that was trained here is calibrated with the pictures that it was trained on and scored with
those that were held out: the split is made again from its record. Of any other pictures, where the
source has no parts, every other one is scored. Without labels that the model knows, int8 is scored
by its agreement with fp32, which bounds what it can lose.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from runtime.inference.artifact import Artifact, Measured
from runtime.inference.classification import Classifier
from runtime.inference.engines import create_engine
from runtime.inference.engines.processor import instructions
from runtime.inference.errors import PictureError
from visionstack.accuracy.pictures import picture_files
from visionstack.accuracy.quantized import Quantized, milliseconds, recorded
from visionstack.models.building import current_folder
from visionstack.models.downloads import Say
from visionstack.models.draft import RECORD
from visionstack.models.quantizing import INT8, MOST_PICTURES, quantize, with_int8
from visionstack.paths import MODELS, OUT, SAMPLES
from visionstack.training.dataset import Dataset, read_dataset
from visionstack.training.errors import ProductsError, TrainingError
from visionstack.training.judging import Accuracy
from visionstack.training.products import Listing, Part, list_products

ENGINE: Final = "onnxruntime"
"""What the function has."""
THREADS: Final = 1
"""As up to the 1,769 MiB at which Lambda gives a whole processor; with more both are faster."""
FEWEST_SCORED: Final = 30
MOST_SCORED: Final = 1000
SAMPLE: Final = SAMPLES / "fashion_products.zip"


@dataclass(frozen=True, slots=True)
class _Picture:
    """How to read it, and its class where that is known."""

    path: str
    read: Callable[[], bytes]
    product: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pictures:
    name: str
    calibrating: Sequence[_Picture]
    scored: Sequence[_Picture]


def quantize_classifier(
    model: str,
    *,
    pictures: Path | None = None,
    models: Path = MODELS,
    runs: Path = OUT / "training",
    say: Say = lambda _: None,
) -> Quantized:
    """Make, measure and record int8 of a built classifier.

    `pictures` are products as `visionstack train classifier` takes them, or a folder of pictures
    without classes; the sample's when left out. `runs` holds what trainings have decoded already.
    Raises `ProductsError`, `TrainingError`, `ModelError` and `InferenceError` kinds.
    """
    base = Artifact.load(current_folder(models, model))
    record = _record(base)
    if pictures is None and record.get("source", SAMPLE.name) != SAMPLE.name:
        raise ProductsError(
            f"{model} was trained on {record['source']}.",
            remedy=f"Name it: visionstack models quantize {model} --pictures …/{record['source']}",
        )
    found = _pictures(base, pictures or SAMPLE, record, runs / model)
    with tempfile.TemporaryDirectory(prefix="quantized-") as folder:
        graph = Path(folder) / INT8
        say("calibrating")
        classifier = Classifier.load(base, engine=ENGINE)
        chosen = _evenly(found.calibrating, MOST_PICTURES)
        quantize(base, (pixels[None] for _, pixels in _prepared(classifier, chosen)), graph)
        return record_classifier(base, graph, found, say=say)


def record_classifier(
    base: Artifact, graph: Path, found: _Pictures, *, say: Say = lambda _: None
) -> Quantized:
    """Measure `graph` as the int8 of `base` and make the artifact with both current.

    Raises `TrainingError` where too few pictures are there to be scored.
    """
    unmeasured = with_int8(base, graph)
    engines = {
        one: create_engine(ENGINE, unmeasured, threads=THREADS, precision=one)
        for one in ("fp32", "int8")
    }
    classifiers = {one: Classifier(unmeasured, engine) for one, engine in engines.items()}
    scored: list[_Picture] = []
    first: dict[str, list[int]] = {one: [] for one in engines}
    for picture, pixels in _prepared(classifiers["fp32"], _evenly(found.scored, MOST_SCORED)):
        scored.append(picture)
        for one, classifier in classifiers.items():
            first[one].append(int(np.argmax(classifier.infer([pixels])[0])))
        say(f"scoring, {len(scored)} pictures done")
    if len(scored) < FEWEST_SCORED:
        raise TrainingError(
            f"{found.name} leaves {len(scored)} pictures to score with; "
            f"{FEWEST_SCORED} are needed to tell a sound int8 from a broken one.",
            remedy="Give more pictures: --pictures",
        )
    taken = milliseconds(list(engines.values()), unmeasured)
    truth = _truth(unmeasured, scored)
    rows = []
    for (one, answers), spent in zip(first.items(), taken, strict=True):
        agreeing = Accuracy(right=_equal(answers, first["fp32"]), of=len(scored))
        accuracy = Accuracy(right=_equal(answers, truth), of=len(scored)) if truth else agreeing
        low, high = accuracy.interval
        file = base.manifest.model if one == "fp32" else unmeasured.manifest.int8
        rows.append(
            Measured(
                precision=one,
                sha256=unmeasured.manifest.files[file].sha256,
                engine=ENGINE,
                instructions=instructions(),
                metric="top 1" if truth else "agreement",
                accuracy=round(accuracy.share, 6),
                milliseconds=round(spent, 3),
                labels=found.name,
                low=round(low, 6),
                high=round(high, 6),
                agreement=round(agreeing.share, 6),
                pictures=len(scored),
            )
        )
    return recorded(base, graph, rows)


def _record(artifact: Artifact) -> Mapping[str, Any]:
    """What the training says of its pictures; empty for a model that was not trained here."""
    if RECORD not in artifact.manifest.files:
        return {}
    told = json.loads((artifact.folder / RECORD).read_text("utf-8"))
    return dict(told.get("products", {}))


def _pictures(base: Artifact, source: Path, record: Mapping[str, Any], folder: Path) -> _Pictures:
    if source.is_dir() and (
        plain := [one for one in picture_files(source) if one.parent == source]
    ):
        files = [_Picture(file.name, file.read_bytes) for file in plain]
        return _Pictures(name=source.name, calibrating=files[::2], scored=files[1::2])
    listing = list_products(source)
    if record:
        folder.mkdir(parents=True, exist_ok=True)
        dataset = read_dataset(listing, folder, size=record["size"], seed=record["seed"])
        if dataset.hash == record["sha256"]:
            return _held_out(dataset, listing)
    return _by_parts(listing)


def _held_out(dataset: Dataset, listing: Listing) -> _Pictures:
    def of(*parts: Part) -> list[_Picture]:
        return [
            _Picture(path, partial(listing.read, path), dataset.ids[number])
            for part in map(dataset.part, parts)
            for path, number in zip(part.paths, part.product.tolist(), strict=True)
        ]

    name = f"{dataset.source}, validation and test part"
    return _Pictures(name=name, calibrating=of("train"), scored=of("validation", "test"))


def _by_parts(listing: Listing) -> _Pictures:
    everything = [
        (one.part, _Picture(one.path, partial(listing.read, one.path), one.product))
        for one in listing.pictures
    ]
    train = [picture for part, picture in everything if part == "train"]
    others = [picture for part, picture in everything if part != "train"]
    if not train:
        train, others = others[::2], others[1::2]
    return _Pictures(name=listing.source.name, calibrating=train, scored=others)


def _evenly(pictures: Sequence[_Picture], most: int) -> list[_Picture]:
    places = np.linspace(0, len(pictures) - 1, min(most, len(pictures)))
    return [pictures[int(place)] for place in places]


def _prepared(
    classifier: Classifier, pictures: Iterable[_Picture]
) -> Iterator[tuple[_Picture, NDArray[np.uint8]]]:
    """Those that can be read, as the network takes them."""
    for picture in pictures:
        with contextlib.suppress(PictureError, ProductsError, OSError):
            yield picture, classifier.prepare(picture.read())


def _truth(artifact: Artifact, pictures: Sequence[_Picture]) -> list[int] | None:
    """Every picture's class by number; None where the model does not know all of them."""
    labels = artifact.labels()
    numbers = {label.name: number for number, label in enumerate(labels)}
    numbers |= {label.id: number for number, label in enumerate(labels)}
    if any(picture.product not in numbers for picture in pictures):
        return None
    return [numbers[str(picture.product)] for picture in pictures]


def _equal(answers: Sequence[int], wanted: Sequence[int]) -> int:
    return sum(one == other for one, other in zip(answers, wanted, strict=True))
