"""Options that several commands share, typed once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from visionstack.cloud import Cloud

CloudOption = Annotated[
    Cloud,
    typer.Option(
        help="Where the stacks are deployed; auto takes the embedded cloud when it is up."
    ),
]
PrefixOption = Annotated[
    str | None, typer.Option(help="Prefix of the stacks' names, when not cdk.json's.")
]
ContextOption = Annotated[
    list[str] | None,
    typer.Option("--context", "-c", help="A setting, name=value, as with cdk."),
]
OutOption = Annotated[Path, typer.Option(help="Folder for the report.")]
PortOption = Annotated[int, typer.Option(min=0, max=65_535, help="0 takes a free one.")]
HttpPortOption = Annotated[
    int, typer.Option(min=0, max=65_535, help="Health, metrics, WebSocket and page.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
MaxUsdOption = Annotated[float | None, typer.Option(min=0, help="Refuse what could cost more.")]
YesOption = Annotated[bool, typer.Option("--yes", help="Run on AWS without a budget.")]
CutOption = Annotated[
    bool, typer.Option("--cut", help="The clip is the beginning of what gt.txt labels.")
]
