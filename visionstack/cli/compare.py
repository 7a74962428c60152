"""`visionstack compare run|resume|report`, and `visionstack doctor`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from visionstack import paths
from visionstack.cli import doctor

compare = typer.Typer(
    no_args_is_help=True, help="Which machine, at what speed, for what money: by measuring."
)
_OUT = paths.OUT / "compare"
_STRATEGY_HELP = "What the winner is named by: cost, speed or balanced."


def register(app: typer.Typer) -> None:
    """Mount this part's commands on the root command."""
    app.add_typer(compare, name="compare")
    doctor.register(app)


@compare.command()
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
    model: Annotated[str, typer.Option(help="A model that `visionstack models` builds.")] = (
        "yolov3-tiny"
    ),
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
    minutes: Annotated[
        int, typer.Option(min=5, max=480, help="After which an instance ends at the latest.")
    ] = 30,
    calls: Annotated[int, typer.Option(min=1, help="Warm calls to each function.")] = 60,
    cold_calls: Annotated[int, typer.Option(min=0, help="First calls to each function.")] = 3,
    max_usd: Annotated[
        float | None, typer.Option(min=0, help="Refuse what could cost more.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Run on AWS without a budget.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the plan, and start nothing.")
    ] = False,
    strategy: Annotated[str, typer.Option(help=_STRATEGY_HELP)] = "balanced",
    cloud: Annotated[str, typer.Option(help="auto, local or aws.")] = "auto",
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = _OUT,
    as_json: Annotated[bool, typer.Option("--json", help="Print the record as JSON.")] = False,
) -> None:
    """Plan, measure, and destroy what was started; the table fills while it runs."""
    from visionstack.cloud.local_defaults import architecture
    from visionstack.compare import session
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
    )
    session.start(
        request,
        model=model,
        cloud=cloud,
        out=out,
        strategy=session.strategy_named(strategy),
        max_usd=max_usd,
        confirmed=yes,
        dry_run=dry_run,
        as_json=as_json,
    )


@compare.command()
def resume(
    *,
    out: Annotated[Path, typer.Option(help="Folder of the comparison.")] = _OUT,
    minutes: Annotated[int, typer.Option(min=5, max=480)] = 30,
    calls: Annotated[int, typer.Option(min=1)] = 60,
    cold_calls: Annotated[int, typer.Option(min=0)] = 3,
    picture: Annotated[Path | None, typer.Option(help="The picture, if it has moved.")] = None,
    max_usd: Annotated[float | None, typer.Option(min=0)] = None,
    yes: Annotated[bool, typer.Option("--yes")] = False,
    strategy: Annotated[str, typer.Option(help=_STRATEGY_HELP)] = "balanced",
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Go on with a comparison: rows that failed or never ran; then destroy what is left."""
    from visionstack.compare import session

    session.resume(
        out,
        strategy=session.strategy_named(strategy),
        size=session.MeasurementSize(minutes, calls, cold_calls),
        picture=picture,
        max_usd=max_usd,
        confirmed=yes,
        as_json=as_json,
    )


@compare.command()
def report(
    *,
    folder: Annotated[
        list[Path] | None, typer.Argument(help="Folders of comparisons of one model.")
    ] = None,
    strategy: Annotated[str, typer.Option(help=_STRATEGY_HELP)] = "balanced",
    out: Annotated[Path | None, typer.Option(help="Where to write; default: the first.")] = None,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Draw the report again from the JSON, of one comparison or of several."""
    from visionstack.compare import session

    folders = folder or [_OUT]
    session.draw(folders, out or folders[0], session.strategy_named(strategy), as_json=as_json)
