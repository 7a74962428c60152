"""The serverless lane's commands."""

from __future__ import annotations

import typer


def register(app: typer.Typer) -> None:
    """Mount the serverless lane's commands on the root command."""
