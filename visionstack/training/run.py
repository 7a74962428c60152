"""From products to a model: ways and epochs chosen on validation, the test part looked at once.

`training.json` in the run's folder is the record; the artifact holds the same, so that what is
served says what it was trained on and how well it did.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from runtime.inference.artifact import Artifact, Weights
from runtime.measurement import machine
from visionstack.files import replace_file
from visionstack.models.building import CACHE, write_artifact
from visionstack.models.classifiers import ClassifierNetwork, classifier_draft
from visionstack.models.downloads import Say
from visionstack.models.draft import RECORD, BuildContext, BuildOptions
from visionstack.training import WayChoice, judging
from visionstack.training.dataset import Dataset
from visionstack.training.errors import TrainingError
from visionstack.training.plans import Candidate, Epoch, Fit, candidates
from visionstack.training.products import UNKNOWN

if TYPE_CHECKING:
    from visionstack.training.networks import Backbone, ProductNetwork

ALLOWED_DIFFERENCE: Final = 1e-3
"""Between the logits of the trained network and of its ONNX graph, on validation pictures."""
_COMPARED: Final = 32
Told = Callable[[Candidate, Epoch], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to train and where to write. `way` is auto, best, head, all or scratch; `augment` None
    leaves augmentation to the validation pictures; `unknown` adds the answer "unknown"."""

    name: str
    models: Path
    folder: Path
    backbone: str | None = None
    way: WayChoice = "auto"
    augment: bool | None = None
    epochs: int = 60
    patience: int = 8
    batch: int = 32
    unknown: bool = False
    tensorboard: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """The record as it was written, the model, and the test part's logits (n, products)."""

    record: dict[str, Any]
    artifact: Artifact
    test_logits: judging.Logits


@dataclass(frozen=True, slots=True)
class _Trained:
    candidate: Candidate
    backbone: Backbone
    network: ProductNetwork
    fit: Fit
    logits: judging.Logits
    """Of the validation part."""


def train(
    dataset: Dataset,
    plan: Plan,
    *,
    say: Say = lambda _: None,
    told: Told = lambda *_: None,
) -> Outcome:
    """Train, choose, test once, export, check and store. Raises `TrainingError` and `ModelError`
    kinds; a run that was cut off goes on where it was when called again with the same plan."""
    from visionstack.training.fitting import logits, torch_seeded
    from visionstack.training.networks import find_backbone, own_network

    say("the network")
    backbone: Backbone
    with torch_seeded(dataset.seed):
        if plan.way == "scratch":
            backbone = own_network(shrink=shrink(dataset))
        else:
            backbone = find_backbone(
                plan.backbone, size=dataset.size, cache=plan.models / CACHE, say=say
            )
    wanted, why = candidates(
        plan.way,
        augment=plan.augment,
        per_product=len(dataset.train) / len(dataset.ids),
        pretrained=backbone.weights.trained,
    )
    trained = [_fit(one, backbone, dataset, plan, say, told) for one in wanted]
    best = min(
        trained,
        key=lambda one: (
            -judging.top_k(one.logits, dataset.validation.product, 1).right,
            one.fit.best.val_loss,
        ),
    )
    record = _record(dataset, plan, backbone, trained, best, why)
    temperature = judging.fit_temperature(best.logits, dataset.validation.product)
    threshold = judging.choose_threshold(best.logits, dataset.validation.product, temperature)
    if plan.unknown and threshold is None:
        raise TrainingError(
            f"No threshold makes {judging.WANTED_ACCURACY:.0%} of the answers right on the "
            "validation pictures, so there is no answer 'unknown' to offer.",
            remedy="Train without --unknown, or add pictures.",
        )
    say("the test pictures, once")
    test = logits(best.network, best.backbone, dataset.test)
    record |= _judged(dataset, best.logits, test, temperature, threshold, on=plan.unknown)
    say("exporting")
    artifact = _artifact(dataset, plan, best, record, temperature, threshold, say)
    record["artifact"] = {
        "name": artifact.manifest.name,
        "version": artifact.manifest.version,
        "bytes": sum(entry.bytes for entry in artifact.manifest.files.values()),
    }
    replace_file(plan.folder / RECORD, json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    return Outcome(record, artifact, test)


def shrink(dataset: Dataset) -> int:
    """Pixels a side that a network from scratch averages, of pictures that were scaled up."""
    return max(1, dataset.size // 24) if dataset.side <= 48 else 1


def _fit(  # noqa: PLR0917 - private, called once
    candidate: Candidate, backbone: Backbone, dataset: Dataset, plan: Plan, say: Say, told: Told
) -> _Trained:
    from visionstack.training.fitting import FitOptions, fit, logits

    say(f"{candidate.name}: preparing")
    network, found = fit(
        candidate,
        backbone,
        dataset.train,
        dataset.validation,
        products=len(dataset.ids),
        options=FitOptions(
            folder=plan.folder / "checkpoints" / _key(candidate, backbone, dataset, plan),
            features=plan.folder,
            epochs=plan.epochs,
            patience=plan.patience,
            batch=plan.batch,
            seed=dataset.seed,
            tensorboard=plan.tensorboard,
            told=lambda epoch: told(candidate, epoch),
        ),
    )
    judged = logits(network, backbone, dataset.validation)
    return _Trained(candidate, backbone, network, found, judged)


def _key(candidate: Candidate, backbone: Backbone, dataset: Dataset, plan: Plan) -> str:
    """Another one for whatever would make a checkpoint the wrong one to go on from."""
    told = [backbone.name, backbone.weights.description, dataset.hash, dataset.size, dataset.seed]
    told += [plan.epochs, plan.patience, plan.batch]
    return f"{candidate.key}-{hashlib.sha256(repr(told).encode()).hexdigest()[:12]}"


def _record(  # noqa: PLR0917 - private, called once
    dataset: Dataset,
    plan: Plan,
    backbone: Backbone,
    trained: list[_Trained],
    best: _Trained,
    why: str,
) -> dict[str, Any]:
    from visionstack.training.networks import parameters

    return {
        "schema": 2,
        "kind": "measured",
        "machine": machine.describe().to_json(),
        "versions": machine.versions(),
        "products": dataset.to_json(),
        "network": {
            "name": backbone.name,
            "starting_weights": backbone.weights.description,
            "pretrained": backbone.weights.trained,
            "parameters": parameters(best.network),
        },
        "why": why,
        "ways": [
            {
                "way": one.candidate.way,
                "augmented": one.candidate.augmented,
                "name": one.candidate.name,
                "chosen": one is best,
                "best_epoch": one.fit.best.number,
                "stopped_by": one.fit.stopped_by,
                "seconds": one.fit.epochs[-1].seconds,
                "validation": judging.top_k(one.logits, dataset.validation.product, 1).to_json(),
                "epochs": [asdict(epoch) for epoch in one.fit.epochs],
            }
            for one in trained
        ],
        "name": plan.name,
    }


def _judged(
    dataset: Dataset,
    validation: judging.Logits,
    test: judging.Logits,
    temperature: float,
    threshold: float | None,
    *,
    on: bool,
) -> dict[str, Any]:
    product = dataset.test.product
    return {
        "test": {
            "top1": judging.top_k(test, product, 1).to_json(),
            "top5": judging.top_k(test, product, 5).to_json(),
            "confusion": judging.confusion(test, product, len(dataset.ids)).tolist(),
        },
        "calibration": {
            "temperature": temperature,
            "chosen_on": "validation",
            "error_before": judging.calibration_error(test, product),
            "error_after": judging.calibration_error(test, product, temperature),
            "error_is": "expected calibration error of the test part, 15 bins",
        },
        "unknown": {
            "on": on,
            "below": threshold,
            "wanted_accuracy": judging.WANTED_ACCURACY,
            "chosen_on": "validation",
            "validation": judging.answered(
                validation, dataset.validation.product, temperature, threshold
            ),
            "test": judging.answered(test, product, temperature, threshold),
        }
        if threshold is not None
        else {"on": False, "below": None, "wanted_accuracy": judging.WANTED_ACCURACY},
    }


def _artifact(  # noqa: PLR0917 - private, called once
    dataset: Dataset,
    plan: Plan,
    best: _Trained,
    record: dict[str, Any],
    temperature: float,
    threshold: float | None,
    say: Say,
) -> Artifact:
    from visionstack.training.networks import Exported, preprocessing

    below = threshold if plan.unknown else None
    network = Exported(best.network, temperature=temperature, unknown_below=below).eval()
    backbone, top1 = best.backbone, record["test"]["top1"]
    classifier = ClassifierNetwork(
        network=network,
        size=dataset.size,
        preprocessing=preprocessing(dataset.size),
        mean=backbone.mean,
        deviation=backbone.deviation,
        weights=Weights(
            trained=True,
            description=f"{best.candidate.name}, {len(dataset.train)} pictures of "
            f"{len(dataset.ids)} products ({dataset.source}), test top 1 {top1['share']:.1%} "
            f"({top1['low']:.1%} to {top1['high']:.1%})"
            + ("" if backbone.weights.trained or plan.way == "scratch" else ", started at random"),
        ),
        source=f"{backbone.name}, starting weights: {backbone.weights.description}",
        licence=backbone.licence,
    )
    context = BuildContext(options=BuildOptions(), cache=plan.models, say=say)
    labels = [*dataset.labels, *([f"{UNKNOWN}\tnone of these"] if plan.unknown else [])]
    draft = classifier_draft(context, classifier, labels=labels)
    record["onnx_difference"] = check_equal(draft.model.SerializeToString(), network, best, dataset)
    draft.extra[RECORD] = json.dumps(record, indent=1, ensure_ascii=False) + "\n"
    try:
        return write_artifact(plan.name, draft, root=plan.models, say=say)
    except OSError as error:
        raise TrainingError(
            f"The model could not be written to {plan.models}: {error.strerror or error}.",
            remedy="Free some space; the same command then goes on from here.",
        ) from error


def check_equal(graph: bytes, network: Any, best: _Trained, dataset: Dataset) -> float:
    """The largest difference of logits on validation pictures. Raises `TrainingError` above
    `ALLOWED_DIFFERENCE`."""
    import onnxruntime
    import torch

    from visionstack.training.features import planes

    chosen = np.arange(min(_COMPARED, len(dataset.validation)))
    pixels = dataset.validation.pixels(chosen)
    with torch.inference_mode():
        expected = network(best.backbone.scaled(planes(pixels))).numpy()
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {session.get_inputs()[0].name: pixels})
    difference = float(np.abs(found - expected).max())
    if not difference <= ALLOWED_DIFFERENCE:
        raise TrainingError(
            f"The ONNX graph of {best.backbone.name} answers otherwise than the trained network: "
            f"its logits differ by {difference:.2g}.",
            remedy="Train with another --backbone, and report this one.",
        )
    return difference
