"""`visionstack models quantize` of a detector: int8 with its accuracy and time beside fp32.

The labelled frames of a clip are not calibrated with. They show the same scene, so figures for
other scenes can be worse: quantize with pictures and labels of your own.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from runtime.inference.artifact import Artifact, Measured
from runtime.inference.detector import Detector
from runtime.inference.engines import Engine, create_engine
from runtime.inference.engines.precisions import (
    LEAST_AGREEMENT,
    MOST_LOST,
    fastest_measured,
    sound,
)
from runtime.inference.engines.processor import instructions
from visionstack.accuracy.inputs import Inputs, open_inputs
from visionstack.accuracy.results import against_labels
from visionstack.accuracy.variants import run
from visionstack.errors import UsageError
from visionstack.models.building import current_folder
from visionstack.models.quantizing import (
    INT8,
    MOST_PICTURES,
    make_current,
    quantize,
    with_int8,
)
from visionstack.paths import MODELS, SAMPLES

_CALLS: Final = 50
Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Quantized:
    """The new version, what was measured, and what `auto` takes by that on this processor."""

    artifact: Artifact
    taken: str | None


def quantize_model(
    model: str,
    *,
    pictures: Path | None = None,
    labels: Path | None = None,
    models: Path = MODELS,
    say: Say = lambda _: None,
) -> Quantized:
    """Make, measure and record int8 of a built detector.

    `pictures` (a folder or a clip) calibrate, `labels` are of them; the sample clip and its labels
    when left out. Labels that name their pictures need no `pictures`.
    Raises `UsageError`, `LabelError`, `ModelError`, and `InferenceError` where OpenVINO fails.
    """
    if pictures is None and labels is None:
        pictures = SAMPLES / "pedestrians.avi"
        labels = SAMPLES / "ground_truth_pedestrians.json"
    scored = open_inputs(pictures or labels, labels=labels if pictures else None)  # type: ignore[arg-type]
    if scored.labels is None:
        raise UsageError(f"{pictures} has no labels of boxes.", remedy="Name them: --labels FILE")
    base = Artifact.load(current_folder(models, model))
    calibrating = open_inputs(pictures) if pictures else scored
    with tempfile.TemporaryDirectory(prefix="quantized-") as folder:
        graph = Path(folder) / INT8
        say("calibrating")
        detector = Detector(base, create_engine("openvino", base, precision="fp32"))
        quantize(base, _batches(detector, calibrating, leave_out=set(scored.pictures)), graph)
        return record(base, graph, scored, say=say)


def record(base: Artifact, graph: Path, scored: Inputs, *, say: Say = lambda _: None) -> Quantized:
    """Measure `graph` as the int8 of `base` and make the artifact with both current."""
    unmeasured = with_int8(base, graph)
    engines = {
        precision: create_engine("openvino", unmeasured, precision=asked)
        for precision, asked in (
            ("fp32", "fp32"),
            (_best_float(unmeasured), "auto"),
            ("int8", "int8"),
        )
    }
    rows = [
        _measure(unmeasured, engine, scored, taken, say)
        for engine, taken in zip(
            engines.values(), milliseconds(list(engines.values()), unmeasured), strict=True
        )
    ]
    return recorded(base, graph, rows)


def recorded(base: Artifact, graph: Path, rows: Sequence[Measured]) -> Quantized:
    """Make the artifact with `graph` and its figures, all of one engine, and make it current."""
    artifact = with_int8(base, graph, rows)
    make_current(artifact, instead_of=base)
    taken = fastest_measured(artifact.manifest, engine=rows[0].engine, instructions=instructions())
    return Quantized(artifact=artifact, taken=taken)


def sentence(found: Quantized) -> str:
    """What was measured, and what follows."""
    rows = {row.precision: row for row in found.artifact.manifest.measured}
    exact, narrow = rows["fp32"], rows["int8"]
    told = [f"{_told(row)} in {row.milliseconds:.1f} ms" for row in rows.values()]
    if narrow.agreement is not None:
        told.append(
            f"int8 and fp32 have the same first class in {narrow.agreement:.1%} of "
            f"{narrow.pictures} pictures"
        )
    lost = exact.accuracy - narrow.accuracy
    verdict = "sound" if sound(narrow, exact) else "refused"
    least = (
        "" if narrow.agreement is None else f", with fp32's first class in {LEAST_AGREEMENT:.0%}"
    )
    return (
        f"{'; '.join(told)}. int8 loses {lost:+.3f} and is {verdict} (at most {MOST_LOST}{least}): "
        f"precision auto takes {found.taken} in {narrow.engine} on this processor"
    )


def _told(row: Measured) -> str:
    spread = "" if row.low is None else f" ({row.low:.3f} to {row.high:.3f})"
    return f"{row.precision} {row.metric} {row.accuracy:.3f}{spread}"


def _batches(
    detector: Detector, inputs: Inputs, *, leave_out: set[str]
) -> list[np.ndarray[tuple[int, ...], np.dtype[np.uint8]]]:
    """Evenly out of the pictures, those not labelled where there are enough."""
    others = [place for place, name in enumerate(inputs.pictures) if name not in leave_out]
    usable = others if len(others) >= len(leave_out) else list(range(len(inputs.pictures)))
    wanted = {usable[int(at)] for at in np.linspace(0, len(usable) - 1, MOST_PICTURES)}
    return [
        detector.prepare(image).pixels[None]
        for place, image in enumerate(inputs.read())
        if place in wanted
    ]


def _best_float(artifact: Artifact) -> str:
    """`bf16` where OpenVINO takes it for an artifact without figures."""
    return create_engine("openvino", artifact).precision


def _measure(
    artifact: Artifact, engine: Engine, scored: Inputs, taken: float, say: Say
) -> Measured:
    precision = engine.precision
    say(f"measuring {precision}")
    answers = run(artifact, engine, scored, model=artifact.manifest.name)
    metric, figure = next(iter(against_labels(scored, answers).figures.items()))
    manifest = artifact.manifest
    return Measured(
        precision=precision,
        sha256=manifest.files[manifest.int8 if precision == "int8" else manifest.model].sha256,
        engine="openvino",
        instructions=instructions(),
        metric=metric,
        accuracy=round(figure.value, 6),
        milliseconds=round(taken, 3),
        labels=Path(scored.name).name,
    )


def milliseconds(engines: Sequence[Engine], artifact: Artifact) -> list[float]:
    """Medians of a call; the engines take turns, so that a busy machine is as slow for each."""
    size = artifact.manifest.input
    batch = np.zeros((1, size.height, size.width, 3), np.uint8)
    taken: list[list[float]] = [[] for _ in engines]
    for _ in range(_CALLS):
        for engine, times in zip(engines, taken, strict=True):
            began = time.perf_counter()
            engine.run(batch)
            times.append(1000 * (time.perf_counter() - began))
    return [statistics.median(times) for times in taken]
