"""What `visionstack compare cameras` does: model after model, then the report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from visionstack import console, paths
from visionstack.accuracy.inputs import open_inputs
from visionstack.compare import cameras_report
from visionstack.compare.accuracy import Labelled
from visionstack.compare.cameras import Film, Wanted, count_cameras
from visionstack.errors import UsageError
from visionstack.models.named import find_model
from visionstack.report.terminal import show
from visionstack.report.write import write


def run(
    models: Sequence[str],
    *,
    fps: float,
    within_s: float,
    accuracy: float,
    labelled: Labelled,
    cut: bool,
    seconds: float,
    usd_per_hour: float | None,
    out: Path,
    as_json: bool,
) -> None:
    """Raises `UsageError`, `LabelError` and `VisionstackError`."""
    if len(set(models)) != len(models):
        raise UsageError("A model was named twice.", remedy="Name each once: --model A --model B.")
    film = Film.of(open_inputs(labelled.source, labels=labelled.labels, cut=cut))
    for model in models:
        with console.err.status(f"model {model} …"):
            find_model(model, task="detect")()
    wanted = Wanted(fps=fps, within_s=within_s, accuracy=accuracy)
    found = []
    for model in models:
        with console.err.status(f"{model} …") as status:
            found.append(
                count_cameras(
                    model,
                    film,
                    wanted,
                    seconds=seconds,
                    usd_per_hour=usd_per_hour,
                    models=paths.MODELS,
                    tell=status.update,
                )
            )
    document = cameras_report.report(found, wanted, clip=labelled.source.name)
    written = write(document, out)
    if as_json:
        console.print_json(cameras_report.to_json(found, wanted))
    else:
        show(document, console.out)
    console.err.print(f"report: {written['html']}")
