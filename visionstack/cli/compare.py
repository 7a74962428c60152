"""`visionstack compare run|resume|cameras|report`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from runtime.contract import DEFAULT_DETECTOR
from visionstack import paths
from visionstack.cli.options import (
    CloudOption,
    CutOption,
    JsonOption,
    MaxUsdOption,
    OutOption,
    YesOption,
)
from visionstack.cloud.local_defaults import architecture
from visionstack.compare import Strategy
from visionstack.errors import UsageError, VisionstackError

if TYPE_CHECKING:
    from visionstack.compare.record import Record

app = typer.Typer(
    name="compare",
    help="Which machine, at what speed, for what money: by measuring.",
    no_args_is_help=True,
)
_OUT = paths.OUT / "compare"
_Loss = Annotated[
    float,
    typer.Option(
        min=0, max=1, help="AP50 (or top 1) that may be given up against the most accurate."
    ),
]
_Strategy = Annotated[Strategy, typer.Option(help="What the winner is named by.")]
_Minutes = Annotated[
    int, typer.Option(min=5, max=480, help="After which an instance ends at the latest.")
]
_Calls = Annotated[int, typer.Option(min=1, help="Warm calls to each function.")]
_ColdCalls = Annotated[int, typer.Option(min=0, help="First calls to each function.")]


@app.command()
def run(
    *,
    instance_type: Annotated[
        list[str] | None,
        typer.Option("--instance-type", "-i", help="An EC2 instance type; may be repeated."),
    ] = None,
    function: Annotated[
        list[str] | None,
        typer.Option(
            "--lambda",
            help="MEMORY[:ARCH[:PACKAGING[:COLD_START[:ENGINE]]]], such as 1769::package:warmer.",
        ),
    ] = None,
    local: Annotated[bool, typer.Option("--local", help="This machine is a row.")] = False,
    darknet: Annotated[
        bool, typer.Option("--darknet", help="darknet's own program on this machine is a row.")
    ] = False,
    model: Annotated[
        list[str] | None,
        typer.Option(
            help=f"A model that `visionstack models` builds; repeatable; {DEFAULT_DETECTOR}."
        ),
    ] = None,
    engine: Annotated[
        list[str] | None,
        typer.Option(help="With --local: a row for each ENGINE[:PRECISION]; repeatable."),
    ] = None,
    within: Annotated[
        list[str] | None,
        typer.Option(help="With --local: a row held to PROCESSORS:MIB, such as 1:700; repeatable."),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(help="What --labelled shows: COCO JSON, data.yaml, MOTChallenge's gt.txt."),
    ] = None,
    labelled: Annotated[
        Path | None,
        typer.Option(
            help="Pictures or clip (or a folder a class) to measure accuracy on; for detectors "
            "the labelled frames of the sample clip unless given."
        ),
    ] = None,
    accuracy_loss: _Loss = 0.05,
    usd_per_hour: Annotated[
        float | None, typer.Option(min=0, help="What an hour of this machine costs, for --local.")
    ] = None,
    scenario: Annotated[
        list[str] | None,
        typer.Option(
            help="single-stream, multi-stream, server[:QPS], offline or camera:FPS; repeatable."
        ),
    ] = None,
    scope: Annotated[
        list[str] | None,
        typer.Option(help="picture, network, or (this machine only) stream; repeatable."),
    ] = None,
    picture: Annotated[Path, typer.Option(help="What is measured with.")] = (
        paths.SAMPLES / "dog.jpg"
    ),
    seconds: Annotated[
        float, typer.Option(min=0.1, max=600, help="At least, for each scenario.")
    ] = 10.0,
    minutes: _Minutes = 30,
    calls: _Calls = 60,
    cold_calls: _ColdCalls = 3,
    max_usd: MaxUsdOption = None,
    yes: YesOption = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the plan, and start nothing.")
    ] = False,
    strategy: _Strategy = "balanced",
    cloud: CloudOption = "auto",
    out: OutOption = _OUT,
    as_json: JsonOption = False,
) -> None:
    """Plan, measure, and destroy what was started; the table fills while it runs."""
    from visionstack.compare import session
    from visionstack.compare.accuracy import Labelled
    from visionstack.compare.plan import Request
    from visionstack.compare.targets import check_instance_type, parse_function

    for name in instance_type or []:
        check_instance_type(name)
    arch = architecture() if cloud != "aws" else "x86_64"
    request = Request(
        instance_types=instance_type or [],
        functions=[parse_function(text, arch=arch) for text in function or []],
        local=local,
        darknet=darknet,
        scenarios=scenario or ["single-stream"],
        scopes=scope or ["picture", "network"],
        seconds=seconds,
        minutes=minutes,
        calls=calls,
        cold_calls=cold_calls,
        picture=picture,
        engines=engine or [],
        within=within or [],
        local_usd_per_hour=usd_per_hour,
    )
    if (engine or within) and not local:
        raise UsageError("--engine and --within name rows of this machine.", remedy="Add --local.")
    if labels is not None and labelled is None:
        raise UsageError(
            "--labels needs the pictures that they label.",
            remedy="Name a clip or a folder: --labelled DIR --labels FILE",
        )
    records = session.start(
        request,
        models=model or [DEFAULT_DETECTOR],
        labelled=None if labelled is None else Labelled(source=labelled, labels=labels),
        loss=accuracy_loss,
        cloud=cloud,
        out=out,
        strategy=strategy,
        max_usd=max_usd,
        confirmed=yes,
        dry_run=dry_run,
        as_json=as_json,
    )
    _raise_unless_measured(records, out)


@app.command()
def resume(
    *,
    out: Annotated[Path, typer.Option(help="Folder of the comparison.")] = _OUT,
    minutes: _Minutes = 30,
    calls: _Calls = 60,
    cold_calls: _ColdCalls = 3,
    picture: Annotated[Path | None, typer.Option(help="The picture, if it has moved.")] = None,
    max_usd: MaxUsdOption = None,
    yes: YesOption = False,
    strategy: _Strategy = "balanced",
    as_json: JsonOption = False,
) -> None:
    """Go on with a comparison: rows that failed or never ran; then destroy what is left."""
    from visionstack.compare import session
    from visionstack.compare.plan import MeasurementSize

    record = session.resume(
        out,
        strategy=strategy,
        size=MeasurementSize(minutes, calls, cold_calls),
        picture=picture,
        max_usd=max_usd,
        confirmed=yes,
        as_json=as_json,
    )
    _raise_unless_measured([record], out)


@app.command()
def cameras(
    *,
    model: Annotated[
        list[str] | None, typer.Option(help=f"A detector; repeatable; {DEFAULT_DETECTOR}.")
    ] = None,
    fps: Annotated[float, typer.Option(min=0.1, max=120, help="Frames a second each.")] = 5.0,
    p99_ms: Annotated[
        float, typer.Option(min=1, help="From capture to result, for 99 of 100 frames.")
    ] = 500.0,
    accuracy: Annotated[
        float, typer.Option(min=0, max=1, help="Streaming AP50 that each camera must reach.")
    ] = 0.3,
    clip: Annotated[Path, typer.Option(help="What every camera shows, at most 60 s.")] = (
        paths.SAMPLES / "pedestrians.avi"
    ),
    labels: Annotated[
        Path | None, typer.Option(help="Of the clip; those of the sample clip unless given.")
    ] = None,
    cut: CutOption = False,
    minutes: Annotated[float, typer.Option(min=1, help="At most, for each model.")] = 5.0,
    usd_per_hour: Annotated[
        float | None, typer.Option(min=0, help="What an hour of this machine costs.")
    ] = None,
    out: OutOption = paths.OUT / "cameras",
    as_json: JsonOption = False,
) -> None:
    """How many cameras this machine serves at a rate, within a time, with an accuracy."""
    from visionstack.compare import camera_session
    from visionstack.compare.accuracy import Labelled

    camera_session.run(
        model or [DEFAULT_DETECTOR],
        fps=fps,
        within_s=p99_ms / 1000,
        accuracy=accuracy,
        labelled=Labelled(source=clip, labels=labels or _labels_of(clip)),
        cut=cut,
        seconds=minutes * 60,
        usd_per_hour=usd_per_hour,
        out=out,
        as_json=as_json,
    )


def _labels_of(clip: Path) -> Path | None:
    from visionstack.compare.accuracy import default_labels

    sample = default_labels("detect")
    return sample.labels if sample and sample.source == clip else None


@app.command()
def report(
    *,
    folder: Annotated[
        list[Path] | None, typer.Argument(help="Folders of comparisons, of one model or several.")
    ] = None,
    strategy: _Strategy = "balanced",
    accuracy_loss: _Loss = 0.05,
    device: Annotated[
        list[Path] | None,
        typer.Option(help="A file that the page saved (On this device): a row; repeatable."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Where to write; default: the first.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Draw the report again from the JSON, of one comparison or of several."""
    from visionstack.compare import session

    folders = folder or [_OUT]
    session.draw(
        folders,
        out or folders[0],
        strategy,
        as_json=as_json,
        loss=accuracy_loss,
        devices=device or [],
    )


def _raise_unless_measured(records: Sequence[Record], out: Path) -> None:
    rows = [(record, row) for record in records for row in record.rows]
    failed = [(record, row) for record, row in rows if row.status == "failed"]
    if failed:
        names = ", ".join(row.name for _, row in failed)
        folder = out if len(records) == 1 else out / failed[0][0].model
        raise VisionstackError(
            f"{len(failed)} of {len(rows)} rows failed: {names}.",
            remedy=f"The report says why; `visionstack compare resume --out {folder}` tries again.",
        )
    if all(row.status == "not-run" for _, row in rows):
        raise VisionstackError(
            "Nothing could be measured.",
            remedy=" ".join(f"{row.name}: {row.reason}." for _, row in rows),
        )
