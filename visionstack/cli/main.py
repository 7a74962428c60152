"""The `visionstack` command: all commands by name, and errors turned into sentences.

Each part must import in milliseconds: what takes longer is imported inside the commands that
need it (tests/unit/cli/test_main.py has a list).
"""

from __future__ import annotations

import errno
import inspect
import io
import signal
import sys
from collections.abc import Callable
from typing import Final, NoReturn

import typer
from rich.markup import escape

import visionstack
from visionstack import console, extras
from visionstack.cli import (
    accuracy,
    classify,
    compare,
    cost,
    data,
    demo,
    doctor,
    load,
    local,
    logs,
    models,
    packages,
    page,
    papers,
    rehearse,
    start,
    status,
    stream,
    train,
)
from visionstack.errors import UsageError, VisionstackError

app = typer.Typer(
    name="visionstack",
    help="Run a vision network on AWS two ways, and tell which is worth its money.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
_COMMANDS: Final[dict[str, Callable[..., None]]] = {
    "try": start.try_here,
    "init": start.init,
    "open": page.open_deployed,
    "status": status.status,
    "logs": logs.logs,
    "demo": demo.demo,
    "serve": stream.serve,
    "stream": stream.stream,
    "classify": classify.classify,
    "wakeup": classify.wakeup,
    "load": load.load,
    "build": packages.build,
    "doctor": doctor.doctor,
    "rehearse": rehearse.rehearse,
    "accuracy": accuracy.accuracy,
    "cost": cost.cost,
    "papers": papers.papers,
}
_MACHINES_FAULT: Final = {
    errno.EACCES: "Is it yours to read and write?",
    errno.EROFS: "Choose a folder that can be written to.",
    errno.ENOSPC: "Make room: `df -h` says where there is some.",
    errno.EDQUOT: "Make room: your quota on this disk is used up.",
}
"""Errors of the file system that no command foresees everywhere, and what to do about them."""

_INTERRUPTED: Final = 130

for _name, _command in _COMMANDS.items():
    app.command(_name)(_command)
for _group in (models.app, data.app, local.app, compare.app, train.app):
    app.add_typer(_group)


def _evaluate_annotations(part: typer.Typer) -> None:
    """Options from their text, once: typer would compile each twice, a fifth of `--help`."""
    for command in part.registered_commands:
        if command.callback is not None:
            command.callback.__annotations__ = inspect.get_annotations(
                command.callback, eval_str=True
            )
    for group in part.registered_groups:
        if group.typer_instance is not None:
            _evaluate_annotations(group.typer_instance)


_evaluate_annotations(app)


def _version(value: bool) -> None:
    if value:
        console.out.print(f"visionstack {visionstack.__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version and stop."
    ),
) -> None:
    """Run a vision network on AWS two ways, and tell which is worth its money."""


def main() -> None:
    """Entry point. Exit codes: 0 good, 1 failed, 2 wrong usage, 130 interrupted, 143 terminated."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _terminated)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A table on a terminal, or into a pipe on Windows, that has no sign for a file's name.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        app()
    except ModuleNotFoundError as error:
        missing = extras.explain(error)
        if missing is None:
            raise
        _end(missing)
    except VisionstackError as error:
        _end(error)
    except SystemExit as ending:
        # Typer makes it of a KeyboardInterrupt, without a word.
        if ending.code == _INTERRUPTED:
            console.err.print("interrupted")
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _MACHINES_FAULT:
            _end(_about_this_machine(error))
        from runtime.redaction import redacted_traceback

        # A fault of this program: all of it, for a report, which must not give a camera away.
        sys.stderr.write(redacted_traceback(error))
        sys.exit(1)


def _about_this_machine(error: OSError) -> VisionstackError:
    where = f"{error.filename}: " if error.filename is not None else ""
    return VisionstackError(f"{where}{error.strerror}.", remedy=_MACHINES_FAULT[error.errno or 0])


def _end(error: VisionstackError) -> NoReturn:
    # A terminal wraps what is long, and copies it without the breaks; `grep` finds it.
    console.err.print(f"[bold red]error:[/] {escape(error.message)}", soft_wrap=True)
    if error.remedy:
        console.err.print(escape(error.remedy), soft_wrap=True)
    sys.exit(2 if isinstance(error, UsageError) else 1)


def _terminated(number: int, frame: object) -> NoReturn:
    # By an exception, so that a command puts back what it changed, as when it is interrupted.
    sys.exit(128 + number)


if __name__ == "__main__":
    main()
