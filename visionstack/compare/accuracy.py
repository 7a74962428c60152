"""The accuracy of what a comparison measured: the same artifact, engine and precision over labels.

It is scored on this machine. A row that ran in a precision which this processor does not compute
(bf16, say) has no accuracy, and says so, rather than another precision's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from visionstack import paths
from visionstack.compare.record import Record
from visionstack.compare.targets import Kind
from visionstack.errors import UsageError, VisionstackError

if TYPE_CHECKING:
    from visionstack.accuracy.variants import Answers

Tell = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """Pictures or a clip with labels of what they show, as `visionstack accuracy` takes them."""

    source: Path
    labels: Path | None = None


def default_labels(task: str) -> Labelled | None:
    """The labelled frames of the sample clip (persons only), for detectors."""
    if task != "detect":
        return None
    return Labelled(
        source=paths.SAMPLES / "pedestrians.avi",
        labels=paths.SAMPLES / "ground_truth_pedestrians.json",
    )


def measure(record: Record, labelled: Labelled, *, tell: Tell = lambda _: None) -> None:
    """Put the accuracy of every engine and precision that the rows ran into the record.

    Raises:
        UsageError, LabelError: the labels do not exist, are wrong, or fit no model of this task.
    """
    from visionstack.accuracy.errors import LabelError
    from visionstack.accuracy.inputs import open_inputs
    from visionstack.accuracy.results import against_labels, resampling
    from visionstack.accuracy.variants import Variant, answer

    inputs = open_inputs(labelled.source, labels=labelled.labels)
    if inputs.labels is None and inputs.classes is None:
        raise UsageError(
            f"{labelled.source} has no labels.",
            remedy="Name them: --labels FILE (COCO JSON, data.yaml or MOTChallenge's gt.txt).",
        )
    metric = "AP50" if inputs.labels is not None else "top 1"
    variants: dict[str, dict[str, Any]] = {}
    for engine, precision in _ran(record):
        name = f"{engine} {precision}"
        tell(f"accuracy of {record.model}, {name}")
        reason = "random weights have no accuracy" if not record.weights_trained else None
        if reason is None:
            asked = Variant(
                model=record.model,
                engine=engine,
                precision=precision if precision in {"fp32", "int8"} else "auto",
            )
            try:
                found = answer(asked, inputs)
            except LabelError:
                raise
            except VisionstackError as error:
                reason = error.message
            else:
                reason = _another(record, found, precision)
        if reason is not None:
            variants[name] = {"reason": reason}
            continue
        scored = against_labels(inputs, found)
        variants[name] = {
            "figure": scored.figures[metric].to_json(),
            "resampled": list(scored.values[metric]),
        }
    record.accuracy = {
        "source": str(labelled.source),
        "labels": str(labelled.labels) if labelled.labels else None,
        "metric": metric,
        "pictures": len(inputs.pictures),
        "intervals": resampling(inputs),
        "variants": variants,
    }


def _ran(record: Record) -> list[tuple[str, str]]:
    """(engine, precision) of every row that was measured; darknet's own program gives no boxes."""
    found = set()
    for row in record.rows:
        if row.kind is Kind.DARKNET:
            continue
        if row.function is not None:
            engine = row.function.get("engine", {})
            found.add((engine.get("name"), engine.get("precision")))
        elif row.result is not None and row.result.get("subject"):
            subject = row.result["subject"]
            found.add((subject.get("engine"), subject.get("precision")))
    return sorted((str(engine), str(precision)) for engine, precision in found if engine)


def _another(record: Record, found: Answers, precision: str) -> str | None:
    """Why these answers are not of what was measured; None where they are."""
    if found.version != record.version:
        return f"{record.model} was built anew since: version {found.version} lies here now"
    if found.precision != precision:
        return f"this machine computes {found.precision} there, not {precision}"
    return None
