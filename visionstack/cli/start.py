"""`visionstack try` and `visionstack init`: the first minute, and the first project."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from runtime.contract import DEFAULT_DETECTOR, STREAM_HTTP_PORT, STREAM_PORT
from visionstack import console
from visionstack.cli.options import HttpPortOption, PortOption


def try_here(
    *,
    model: Annotated[
        str, typer.Option(help="Model to serve; built first where it is missing.")
    ] = DEFAULT_DETECTOR,
    phone: Annotated[
        bool,
        typer.Option(
            "--phone", help="Let devices of your network in too, and show a QR code for them."
        ),
    ] = False,
    browser: Annotated[bool, typer.Option(help="Open the page in the browser.")] = True,
    port: PortOption = STREAM_PORT,
    http_port: HttpPortOption = STREAM_HTTP_PORT,
) -> None:
    """See boxes on your own camera: serves on this machine and opens the page in the browser."""
    from visionstack.cli.serve_run import ANY_ADDRESS, serve
    from visionstack.models.named import find_model

    artifact = find_model(model)()
    if not artifact.manifest.weights.trained:
        console.err.print(f"[bold yellow]{model} has random weights: it detects nothing[/]")
    serve(
        [model],
        engine="auto",
        host=ANY_ADDRESS if phone else "127.0.0.1",
        port=port,
        http_port=http_port,
        token=None,
        open_browser=browser,
        qr_code=phone,
    )


def init(
    folder: Annotated[Path, typer.Argument(help="A new or empty folder.")],
) -> None:
    """Write a CDK project that can be deployed: cdk.json, app.py, stacks/ and runtime/."""
    from visionstack.new_project import write_project

    for name in write_project(folder):
        console.out.print(f"wrote {folder / name}", soft_wrap=True, markup=False)
    console.err.print(
        f"Next: cd {shlex.quote(str(folder))}; pip install -r requirements.txt; npm ci; "
        "visionstack doctor; npx cdk bootstrap (once for each account and region); npx cdk deploy "
        "--all\n"
        "Without an AWS account, the last two: visionstack local deploy",
        markup=False,
        soft_wrap=True,
    )
