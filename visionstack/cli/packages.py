"""`visionstack build`: the packages that `cdk deploy` uploads."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from runtime.contract import Output, Stack
from visionstack import console
from visionstack.cli.options import CloudOption, ContextOption, JsonOption
from visionstack.cloud import Cloud, local_defaults


def build(
    context: ContextOption = None,
    local: Annotated[
        bool, typer.Option("--local", help="For the embedded cloud: this machine's Python.")
    ] = False,
    publish: Annotated[
        bool,
        typer.Option("--publish", help="Upload the libraries of packaging=s3-packages."),
    ] = False,
    cloud: CloudOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Build the Lambda packages and the instance's asset (cdk does the same by itself)."""
    from visionstack.packaging.build import bring_up_to_date, settings_from

    given = {**(local_defaults.context() if local else {}), **pairs(context or [])}
    settings = settings_from(given)
    packages = bring_up_to_date(settings)
    if publish:
        _publish([one.folder for one in packages], cloud=cloud, prefix=settings.prefix)
    if as_json:
        console.print_json([one.to_json() for one in packages])
        return
    for one in packages:
        size = f"{one.bytes / 1e6:.1f} MB" + (" unzipped" if one.is_lambda else "")
        console.out.print(f"{one.folder}  {size}  {'built' if one.built else 'up to date'}")


def _publish(folders: list[Path], *, cloud: Cloud, prefix: str) -> None:
    from visionstack.cloud.aws_errors import translated
    from visionstack.cloud.deployment import connect
    from visionstack.packaging.libraries import publish_libraries

    deployment = connect(cloud=cloud, prefix=prefix)
    bucket = deployment.output(Stack.STORAGE, Output.ARTIFACTS_BUCKET)
    client = deployment.client("s3")
    for folder in folders:
        with (
            translated(f"upload the libraries of {folder.name}"),
            console.err.status("uploading …"),
        ):
            uploaded = publish_libraries(folder, client=client, bucket=bucket)
        if uploaded:
            console.err.print(f"uploaded the libraries of {folder.name}")


def pairs(values: list[str]) -> dict[str, str]:
    """`name=value` options as a mapping; wrong usage for anything else."""
    found = {}
    for value in values:
        name, equals, content = value.partition("=")
        if not equals:
            raise typer.BadParameter(f"{value!r} is not name=value", param_hint="-c")
        found[name] = content
    return found
