"""A detector of the user's own, trained by Ultralytics, out to the same kind of artifact.

Ultralytics chooses the epoch on the data set's `val` part; its figures are that part's, and a
`test` part in the YAML is looked at once, at the end. Importing this imports neither torch nor
Ultralytics.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from visionstack.models.downloads import Say
from visionstack.report.write import replace_file
from visionstack.training.errors import TrainingError

RECORD: Final = "training.json"
_FIGURES: Final = {
    "metrics/mAP50(B)": "map50",
    "metrics/mAP50-95(B)": "map50_95",
    "metrics/precision(B)": "precision",
    "metrics/recall(B)": "recall",
}


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
    from runtime.measurement import machine
    from visionstack.models.building import CACHE, build
    from visionstack.models.catalog import find_recipe
    from visionstack.models.classifiers import torchvision_models
    from visionstack.models.draft import BuildOptions
    from visionstack.models.ultralytics_models import import_tasks

    torchvision_models()  # Ultralytics' suppression goes through it wherever it is loaded
    import_tasks(plan.models / CACHE)
    from ultralytics import YOLO

    say(f"training {plan.name}: the first epoch")
    try:
        network = YOLO(plan.model, task="detect", verbose=False)
        network.add_callback("on_fit_epoch_end", lambda trainer: say(_epoch_line(plan, trainer)))
        network.train(
            data=str(plan.data),
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
        figures = _judge(YOLO(best), plan)
    except Exception as error:  # Ultralytics raises whatever it met
        told = (str(error).strip().splitlines() or [repr(error)])[0]
        raise TrainingError(
            f"Ultralytics could not train on {plan.data}: {told}",
            remedy="Correct the YAML, the labels or --model; its own log is in "
            f"{plan.folder / 'run'}.",
        ) from error
    say("exporting")
    recipe = find_recipe(str(best), called=plan.name)
    options = BuildOptions(size=plan.size)
    artifact = build(recipe, root=plan.models, options=options, say=say, force=True).artifact
    record = {
        "schema": 1,
        "kind": "measured",
        "machine": machine.describe().to_json(),
        "versions": machine.versions(),
        "plan": {key: str(value) for key, value in asdict(plan).items()},
        "figures": figures,
        "artifact": {"name": artifact.manifest.name, "version": artifact.manifest.version},
    }
    replace_file(plan.folder / RECORD, json.dumps(record, indent=1) + "\n")
    return record


def _epoch_line(plan: DetectorPlan, trainer: Any) -> str:
    found = trainer.metrics.get("metrics/mAP50(B)", 0.0)
    return f"training {plan.name}: epoch {trainer.epoch + 1} of {plan.epochs}, AP50 {found:.2f}"


def _judge(network: Any, plan: DetectorPlan) -> dict[str, Any]:
    """Shares from 0 to 1 of the best epoch, on the test part where the YAML has one."""
    import yaml

    described = yaml.safe_load(plan.data.read_text("utf-8"))
    part = "test" if described.get("test") else "val"
    found = network.val(
        data=str(plan.data), split=part, imgsz=plan.size, batch=plan.batch, workers=0,
        plots=False, verbose=False, project=str(plan.folder.resolve()), name="judged",
        exist_ok=True,
    ).results_dict  # fmt: skip
    return {"part": part, **{ours: float(found[theirs]) for theirs, ours in _FIGURES.items()}}
