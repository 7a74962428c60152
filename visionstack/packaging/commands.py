"""`visionstack build`: the packages that `cdk deploy` uploads."""

from __future__ import annotations

from typing import Annotated

import typer

from visionstack import console


def register(app: typer.Typer) -> None:
    """Mount this part's commands on the root command."""
    app.command("build")(build)


def build(
    context: Annotated[
        list[str] | None,
        typer.Option("--context", "-c", help="A setting, name=value, as with cdk."),
    ] = None,
    local: Annotated[
        bool, typer.Option("--local", help="For the embedded cloud: this machine's Python.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Build the Lambda packages and the instance's asset (cdk does the same by itself)."""
    from visionstack.localcloud import defaults
    from visionstack.packaging.build import bring_up_to_date, settings_from

    given = {**(defaults.context() if local else {}), **_pairs(context or [])}
    packages = bring_up_to_date(settings_from(given))
    if as_json:
        console.print_json([one.to_json() for one in packages])
        return
    for one in packages:
        size = f"{one.bytes / 1e6:.1f} MB" + (" unzipped" if one.is_lambda else "")
        console.out.print(f"{one.folder}  {size}  {'built' if one.built else 'up to date'}")


def _pairs(values: list[str]) -> dict[str, str]:
    pairs = {}
    for value in values:
        name, equals, content = value.partition("=")
        if not equals:
            raise typer.BadParameter(f"{value!r} is not name=value", param_hint="-c")
        pairs[name] = content
    return pairs
