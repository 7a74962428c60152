"""Options that several commands share mean the same everywhere."""

from __future__ import annotations

from collections.abc import Iterator

import click
import pytest
from typer.main import get_command
from typer.testing import CliRunner

from visionstack.cli.main import app


def commands(
    command: click.Command, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], list[click.Parameter]]]:
    if isinstance(command, click.Group) or hasattr(command, "commands"):
        for name, inner in command.commands.items():
            yield from commands(inner, (*path, name))
    else:
        yield path, command.params


ALL = dict(commands(get_command(app)))
COMMANDS = sorted(
    path for path, options in ALL.items() if any("--cloud" in option.opts for option in options)
)


@pytest.mark.parametrize("path", sorted(ALL), ids=" ".join)
def test_every_option_says_what_it_is_for(path: tuple[str, ...]) -> None:
    assert [one.opts for one in ALL[path] if not getattr(one, "help", None)] == []


def test_the_commands_that_reach_a_cloud_are_found() -> None:
    assert {("stream",), ("classify",), ("doctor",), ("compare", "run")} <= set(COMMANDS)


OF_NO_DEPLOYMENT = {("build",), ("doctor",), ("rehearse",), ("compare", "run")}
"""They read the settings, or deploy stacks of their own."""


@pytest.mark.parametrize(
    "path", sorted({*COMMANDS} - OF_NO_DEPLOYMENT - {("train", "classifier")}), ids=" ".join
)
def test_what_reaches_a_deployment_reaches_one_of_another_name(path: tuple[str, ...]) -> None:
    assert [one for one in ALL[path] if "--prefix" in one.opts]


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_cloud_takes_the_same_three_everywhere(path: tuple[str, ...]) -> None:
    told = CliRunner().invoke(app, [*path, "--cloud", "elsewhere"])
    assert told.exit_code == 2, told.output
    for name in ("auto", "local", "aws"):
        assert name in told.output
