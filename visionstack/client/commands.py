"""Commands of `visionstack.client`."""

from __future__ import annotations

import typer

from visionstack.client import classify_commands


def register(app: typer.Typer) -> None:
    """Mount this part's commands on the root command."""
    classify_commands.register(app)
