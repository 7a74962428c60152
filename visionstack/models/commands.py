"""Commands of `visionstack.models`."""

from __future__ import annotations

import typer


def register(app: typer.Typer) -> None:
    """Mount this part's commands on the root command."""
