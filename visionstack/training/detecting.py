"""A detector of the user's own, trained by Ultralytics, out to the same kind of artifact.

Ultralytics chooses the epoch on the data set's `val` part. What is served is then judged once, on
the `test` part or, where the YAML has none, on `val`, as `visionstack accuracy` judges any model:
average precision with its interval. That stands in the artifact (`training.json`), with the hash of
what it was judged on, so that `models promote` and `models diff` can tell versions apart. Importing
this imports neither torch nor Ultralytics.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from math import isnan
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

from runtime.inference.artifact import Weights
from runtime.measurement import machine
from visionstack.accuracy.errors import LabelError
from visionstack.accuracy.inputs import Inputs, open_inputs
from visionstack.accuracy.results import against_labels, resampling
from visionstack.accuracy.variants import Variant, answer
from visionstack.errors import VisionstackError
from visionstack.files import replace_file
from visionstack.models.building import CACHE, write_artifact
from visionstack.models.catalog import find_recipe
from visionstack.models.classifiers import torchvision_models
from visionstack.models.downloads import Say
from visionstack.models.draft import RECORD, BuildContext, BuildOptions, Draft
from visionstack.models.ultralytics_models import import_tasks
from visionstack.training.errors import TrainingError

if TYPE_CHECKING:
    from visionstack.accuracy.labels import LabelSet

_FIGURES: Final = {"AP50": "ap50", "AP50-95": "ap50_95"}


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorPlan:
    """What to train on (`data`, Ultralytics' YAML), from what (`model`), and where to write."""

    data: Path
    name: str
    model: str
    epochs: int
    patience: int
    batch: int
    size: int
    seed: int
    models: Path
    folder: Path


def train_detector(plan: DetectorPlan, *, say: Say = lambda _: None) -> dict[str, Any]:
    """Train, export and store; returns the record. Raises `TrainingError` and `ModelError`."""
    if not plan.data.is_file():
        raise TrainingError(
            f"There is no data set description at {plan.data}.",
            remedy="Give a YAML with path, train, val and names, as Ultralytics documents it.",
        )

    part = _held_out(plan)
    try:
        held_out = open_inputs(plan.data, split=part)
    except LabelError as error:
        # Said now, and not when hours of training are over.
        raise TrainingError(
            f"The {part} part of {plan.data} cannot be judged on: {error.message}",
            remedy=error.remedy or "Correct it; a relative `path` is beside the YAML.",
        ) from error
    torchvision_models()  # Ultralytics' suppression goes through it wherever it is loaded
    import_tasks(plan.models / CACHE)
    from ultralytics import YOLO

    say(f"training {plan.name}: the first epoch")
    try:
        network = YOLO(plan.model, task="detect", verbose=False)
        network.add_callback("on_fit_epoch_end", lambda trainer: say(_epoch_line(plan, trainer)))
        network.train(
            data=str(_from_anywhere(plan)),
            epochs=plan.epochs,
            patience=plan.patience,
            batch=plan.batch,
            imgsz=plan.size,
            seed=plan.seed,
            project=str(plan.folder.resolve()),
            name="run",
            exist_ok=True,
            workers=0,
            plots=False,
            verbose=False,
        )
        best = Path(network.trainer.best)
        files = [
            *network.trainer.train_loader.dataset.im_files,
            *network.trainer.train_loader.dataset.label_files,
        ]
    except Exception as error:  # Ultralytics raises whatever it met
        told = (str(error).strip().splitlines() or [repr(error)])[0]
        raise TrainingError(
            f"Ultralytics could not train on {plan.data}: {told}",
            remedy="Correct the YAML, the labels or --model; its own log is in "
            f"{plan.folder / 'run'}.",
        ) from error
    say("exporting")
    recipe = find_recipe(str(best), called=plan.name)
    context = BuildContext(options=BuildOptions(size=plan.size), cache=plan.models / CACHE, say=say)
    draft = recipe.make(context)
    say(f"judging on the {part} part")
    try:
        test = _judged(plan.name, draft, held_out)
    except VisionstackError as error:
        raise TrainingError(
            f"{plan.name} is trained ({best}) and could not be judged: {error.message}",
            remedy=f"Correct it and train again, or take the model without figures: "
            f"visionstack models build {best} --name {plan.name} --size {plan.size}",
        ) from error
    record: dict[str, Any] = {
        "schema": 1,
        "kind": "measured",
        "machine": machine.describe().to_json(),
        "versions": machine.versions(),
        "network": {"name": plan.model},
        "products": {
            "source": plan.data.name,
            "train": len(network.trainer.train_loader.dataset),
            "test": len(held_out.pictures),
            "seed": plan.seed,
            "sha256": hash_of(map(Path, files)),
            "judged_on": part,
            "judged_sha256": hash_of(held_out.files, held_out.labels),
        },
        "test": test,
    }
    draft.extra[RECORD] = json.dumps(record, indent=1, ensure_ascii=False) + "\n"
    what = f"{record['products']['train']} pictures ({plan.data.name}), {sentence(record)}"
    draft = replace(draft, weights=Weights(trained=True, description=what))
    artifact = write_artifact(plan.name, draft, root=plan.models, say=say)
    record["plan"] = {key: str(value) for key, value in asdict(plan).items()}
    record["artifact"] = {"name": artifact.manifest.name, "version": artifact.manifest.version}
    replace_file(plan.folder / RECORD, json.dumps(record, indent=1) + "\n")
    return record


def hash_of(files: Iterable[Path], labels: LabelSet | None = None) -> str:
    """SHA-256 over what the files hold, with their labels, wherever they lie and in any order."""
    digests = []
    for place, file in enumerate(files):
        digest = hashlib.sha256(file.read_bytes() if file.is_file() else b"")
        if labels is not None:
            digest.update(repr(sorted(map(str, labels.pictures[place].labels))).encode())
        digests.append(digest.hexdigest())
    return hashlib.sha256("\n".join(sorted(digests)).encode()).hexdigest()


def _epoch_line(plan: DetectorPlan, trainer: Any) -> str:
    found = trainer.metrics.get("metrics/mAP50(B)", 0.0)
    return f"training {plan.name}: epoch {trainer.epoch + 1} of {plan.epochs}, AP50 {found:.2f}"


def _held_out(plan: DetectorPlan) -> str:
    import yaml

    try:
        described = yaml.safe_load(plan.data.read_text("utf-8-sig"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        described = None  # what is wrong with it is said by who reads it whole
    return "test" if isinstance(described, dict) and described.get("test") else "val"


def _from_anywhere(plan: DetectorPlan) -> Path:
    """A copy of the YAML with an absolute `path`: Ultralytics takes a relative one from the working
    directory, and it lies beside the YAML for whoever else reads it."""
    import yaml

    described = yaml.safe_load(plan.data.read_text("utf-8-sig"))
    described["path"] = str((plan.data.parent / str(described.get("path") or "")).resolve())
    copy = plan.folder / "data.yaml"
    copy.parent.mkdir(parents=True, exist_ok=True)
    copy.write_text(yaml.safe_dump(described, allow_unicode=True), "utf-8")
    return copy


def _judged(name: str, draft: Draft, held_out: Inputs) -> dict[str, Any]:
    """Figures of what is served, from 0 to 1, with 95 % intervals where there are enough pictures.

    On ONNX Runtime in 32 bits, which is the same on every machine.
    """
    with TemporaryDirectory(prefix="judged-") as folder:
        write_artifact(name, draft, root=Path(folder), say=lambda _: None)
        variant = Variant(model=name, engine="onnxruntime", precision="fp32")
        scored = against_labels(held_out, answer(variant, held_out, models=Path(folder)))
    figures: dict[str, Any] = {"intervals": resampling(held_out)}
    for theirs, ours in _FIGURES.items():
        found = scored.figures[theirs].to_json()
        figures[ours] = {
            "share": found["value"],
            **{key: found[key] for key in ("low", "high") if key in found},
        }
    if scored.score is not None:
        figures["by_class"] = {
            one: {"objects": score.objects, "ap50": None if isnan(score.ap50) else score.ap50}
            for one, score in scored.score.by_class.items()
        }
    return figures


def sentence(record: dict[str, Any]) -> str:
    """How good it is, in a few words."""
    found, part = record["test"]["ap50"], record["products"]["judged_on"]
    spread = f" ({found['low']:.1%} to {found['high']:.1%})" if "low" in found else ""
    return f"{part} AP50 {found['share']:.1%}{spread}"
