"""`visionstack rehearse`."""

from __future__ import annotations

from typing import Annotated

import typer

from visionstack import paths
from visionstack.cli.options import CloudOption, ContextOption, MaxUsdOption, OutOption, YesOption
from visionstack.cli.packages import pairs
from visionstack.cloud.local_defaults import architecture


def rehearse(
    *,
    cloud: CloudOption = "auto",
    max_usd: MaxUsdOption = None,
    yes: YesOption = False,
    instance_type: Annotated[
        str | None, typer.Option("--instance-type", "-i", help="Of the streaming lane; c7i.large.")
    ] = None,
    compared: Annotated[
        list[str] | None,
        typer.Option("--compare", help="An instance type to compare; c7i.large and c6i.large."),
    ] = None,
    allowed_cidr: Annotated[
        list[str] | None,
        typer.Option(help="Who may reach the stream server; this machine, as AWS sees it."),
    ] = None,
    minutes: Annotated[
        int, typer.Option(min=10, max=480, help="After which no step begins but the last two.")
    ] = 60,
    context: ContextOption = None,
    out: OutOption = paths.OUT / "rehearse",
) -> None:
    """Deploy, use, change and destroy both lanes, see that nothing is left, and report.

    Under a prefix of its own; the report has no account in it and can go into an issue. Everything
    is destroyed at the end, on error and on Ctrl-C.
    """
    from visionstack.cloud.clouds import resolve_cloud
    from visionstack.compare.targets import check_instance_type
    from visionstack.rehearse import session
    from visionstack.rehearse.budget import Plan

    # The embedded cloud's one machine image is of this machine's architecture.
    arm = resolve_cloud(cloud) == "local" and architecture() == "arm64"
    types = tuple(compared or (("c7g.large", "c6g.large") if arm else ("c7i.large", "c6i.large")))
    plan = Plan(
        instance_type=instance_type or ("c7g.large" if arm else "c7i.large"),
        compared=types,
        minutes=minutes,
    )
    for name in {plan.instance_type, *plan.compared}:
        check_instance_type(name)
    run = session.rehearse(
        session.Asked(
            cloud=cloud,
            plan=plan,
            max_usd=max_usd,
            confirmed=yes,
            allowed_cidrs=allowed_cidr or (),
            settings=pairs(context or []),
            out=out,
        )
    )
    if not run.good:
        raise typer.Exit(1)
