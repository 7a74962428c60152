"""`visionstack cost`: what Lambda, EC2 and a mix cost, and where the break-even point lies."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from runtime.contract import DEFAULT_INSTANCE_TYPE, MEMORY_MB_PER_VCPU, Arch, ColdStart
from visionstack import console, paths
from visionstack.cli.options import JsonOption, OutOption
from visionstack.cost import Gateway

_OUT = paths.OUT / "cost"


def cost(
    *,
    requests: Annotated[float, typer.Option(min=1, help="Requests a day to look at.")] = 10_000,
    seconds: Annotated[
        float | None, typer.Option(min=0, help="What one request takes inside the function.")
    ] = None,
    images_per_second: Annotated[
        float | None, typer.Option(min=0, help="What one instance was measured at.")
    ] = None,
    measured: Annotated[
        Path | None, typer.Option(help="Take the times from this comparison's folder.")
    ] = None,
    memory: Annotated[
        int | None, typer.Option(help=f"Of the function, in MB; default: {MEMORY_MB_PER_VCPU}.")
    ] = None,
    arch: Annotated[Arch, typer.Option(help="Of the function.")] = "x86_64",
    init_seconds: Annotated[float, typer.Option(min=0, help="INIT of a cold start.")] = 0.0,
    cold_share: Annotated[float, typer.Option(help="Share of cold requests, 0 to 1.")] = 0.0,
    cold_start: Annotated[ColdStart, typer.Option(help="What is done about cold starts.")] = "none",
    environments: Annotated[
        int, typer.Option(min=0, help="Woken by the warmer (count its spare in) or provisioned.")
    ] = 5,
    gateway: Annotated[
        Gateway | None, typer.Option(help="Before the function; rest where left out.")
    ] = None,
    instance_type: Annotated[
        str | None,
        typer.Option(
            "--instance-type", "-i", help=f"The EC2 side; default: {DEFAULT_INSTANCE_TYPE}."
        ),
    ] = None,
    usd_per_hour: Annotated[
        float | None, typer.Option(min=0, help="A spot price, say; default: on demand.")
    ] = None,
    hours_a_day: Annotated[float, typer.Option(help="The instances are on, 24 at most.")] = 24.0,
    utilisation: Annotated[
        float, typer.Option(help="Share of the measured rate to plan with, 0 to 1.")
    ] = 0.7,
    burst: Annotated[int, typer.Option(min=0, help="Requests at one instant.")] = 0,
    profile: Annotated[str, typer.Option(help="flat, office or evening.")] = "flat",
    prices: Annotated[str, typer.Option(help="today, a date, or 2019 (the papers').")] = "today",
    refresh_prices: Annotated[
        bool, typer.Option("--refresh-prices", help="Ask the AWS Price List first.")
    ] = False,
    region: Annotated[str, typer.Option(help="For --refresh-prices.")] = "us-east-1",
    out: OutOption = _OUT,
    as_json: JsonOption = False,
) -> None:
    """Calculate a day of Lambda, EC2 and a mix, and solve the break-even point."""
    from visionstack.compare.times import ComparisonTimes, LastTimes
    from visionstack.cost import inputs
    from visionstack.cost.prices import load
    from visionstack.cost.report import report
    from visionstack.report.terminal import show
    from visionstack.report.write import write

    if refresh_prices:
        prices = inputs.refreshed(region, [instance_type or DEFAULT_INSTANCE_TYPE])
    times: inputs.Measured | None = None if measured is None else ComparisonTimes(measured)
    given = seconds is not None and images_per_second is not None
    if times is None and not given and not load(prices).historical:
        times = LastTimes.found(paths.OUT)
    question = inputs.question(
        book_name=prices,
        seconds=seconds,
        images_per_second=images_per_second,
        measured=times,
        memory=memory,
        arch=arch,
        init_seconds=init_seconds,
        cold_share=cold_share,
        cold_start=cold_start,
        environments=environments,
        gateway=gateway,
        instance_type=instance_type,
        usd_per_hour=usd_per_hour,
        hours_a_day=hours_a_day,
        utilisation=utilisation,
        burst=burst,
        profile=profile,
    )
    drawn = report(question, requests_per_day=requests)
    written = write(drawn, out)
    if as_json:
        console.print_json(drawn.data)
        return
    show(drawn, console.out)
    console.err.print(f"report: {written['html']}")
