"""`visionstack doctor`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from visionstack import console
from visionstack.cli.options import CloudOption, JsonOption

if TYPE_CHECKING:
    from visionstack.doctor.checks import Check


def doctor(
    instance_type: Annotated[
        list[str] | None,
        typer.Option("--instance-type", "-i", help="A type to check; default: cdk.json's."),
    ] = None,
    ami_id: Annotated[str | None, typer.Option(help="Check this image instead.")] = None,
    cloud: CloudOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Say what would go wrong with a deploy, before anything is deployed. Changes nothing."""
    from visionstack.cloud.deployment import connect
    from visionstack.doctor.aws import (
        check_account,
        check_concurrency,
        check_instance_type,
        deployed_image,
    )
    from visionstack.doctor.checks import State, check_this_machine, worst
    from visionstack.doctor.vcpu_quotas import VcpuQuotas
    from visionstack.packaging.build import settings_from

    settings = settings_from({})
    names = instance_type or [settings.instance_type, *settings.extra_instance_types]
    deployment = connect(cloud=cloud, prefix=settings.prefix)
    checks = check_this_machine()
    # Types of the group stand in for one another; types that were named are wanted side by side.
    group = f"{settings.prefix}-stream"
    together = VcpuQuotas(deployment)
    count = 1 if instance_type else max(1, settings.instances_desired or settings.instances_min)
    extra = int(not instance_type and settings.instances_max > count)
    with console.err.status("asking the cloud …"):
        account = check_account(deployment)
        checks += account
        known = account[0].state is not State.BAD
        kept = deployed_image(deployment) if known and not instance_type else None
        if known and not instance_type:
            checks += check_concurrency(deployment, settings)
        for name in dict.fromkeys(names):
            if known:
                checks += check_instance_type(
                    deployment,
                    name,
                    ami_id=ami_id or settings.ami_id,
                    deployed_image=kept if name == settings.instance_type else None,
                    count=count,
                    spot=settings.spot and not instance_type,
                    extra=extra,
                    quotas=together if instance_type else VcpuQuotas(deployment, own_group=group),
                )
    if as_json:
        console.print_json(
            {"state": worst(checks).value, "checks": [check.to_json() for check in checks]}
        )
    else:
        _show(checks)
    if worst(checks) is State.BAD:
        raise typer.Exit(1)


def _show(checks: list[Check]) -> None:
    from visionstack.doctor.checks import State, worst

    colour = {
        State.GOOD: "green",
        State.WARNING: "yellow",
        State.BAD: "bold red",
        State.UNKNOWN: "dim",
    }
    for check in checks:
        console.out.print(
            f"[{colour[check.state]}]{check.state.symbol}[/] {escape(check.name)}: "
            f"{escape(check.detail)}"
        )
        if check.remedy and check.state is not State.GOOD:
            console.out.print(f"  [dim]→ {escape(check.remedy)}[/]")
    bad = sum(check.state is State.BAD for check in checks)
    unknown = sum(check.state is State.UNKNOWN for check in checks)
    if bad:
        verdict = f"{bad} of {len(checks)} checks would stop a deploy"
    elif unknown:
        verdict = f"nothing found, and {unknown} of {len(checks)} checks could not be made"
    else:
        verdict = "nothing stands in the way"
    console.out.print(f"\n[{colour[worst(checks)]}]{verdict}[/]")
