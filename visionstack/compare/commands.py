"""Commands of `visionstack.compare`, and `visionstack doctor`, which compares nothing yet."""

from __future__ import annotations

import typer

from visionstack import doctor_commands


def register(app: typer.Typer) -> None:
    """Mount this part's commands on the root command."""
    doctor_commands.register(app)
