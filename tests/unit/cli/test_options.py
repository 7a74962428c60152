"""Options that several commands share mean the same everywhere."""

from __future__ import annotations

from collections.abc import Iterator

import click
import pytest
from typer.main import get_command
from typer.testing import CliRunner

from visionstack.cli.main import app


def with_cloud(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if isinstance(command, click.Group) or hasattr(command, "commands"):
        for name, inner in command.commands.items():
            yield from with_cloud(inner, (*path, name))
    elif any("--cloud" in option.opts for option in command.params):
        yield path


COMMANDS = sorted(with_cloud(get_command(app)))


def test_the_commands_that_reach_a_cloud_are_found() -> None:
    assert {("stream",), ("classify",), ("doctor",), ("compare", "run")} <= set(COMMANDS)


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_cloud_takes_the_same_three_everywhere(path: tuple[str, ...]) -> None:
    told = CliRunner().invoke(app, [*path, "--cloud", "elsewhere"])
    assert told.exit_code == 2, told.output
    for name in ("auto", "local", "aws"):
        assert name in told.output
