"""Where the command line writes: people read stderr, programs read stdout.

Names and addresses are printed as they are: rich would make an emoji of the `:abc:` in one.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rich.console import Console

if TYPE_CHECKING:
    from rich.progress import Progress

out = Console(highlight=False, emoji=False)
"""Answers and tables (stdout)."""
err = Console(stderr=True, highlight=False, emoji=False)
"""Progress, warnings and errors (stderr)."""


def progress(line: Callable[[], str] | None = None) -> Progress:
    """A progress display for whatever takes over two seconds.

    `line` gives the text of a single task whenever it is drawn anew, which goes on while nothing
    happens; without it a task's description stands there.
    """
    # A twentieth of `visionstack --help`.
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        SpinnerColumn,
        Task,
        TextColumn,
        TimeElapsedColumn,
    )
    from rich.text import Text

    class Line(ProgressColumn):
        max_refresh = 0.2

        def render(self, task: Task) -> Text:
            return Text.from_markup(line() if line is not None else task.description)

    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}") if line is None else Line(),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=err,
        transient=not err.is_terminal,
    )


def print_json(value: Any) -> None:
    """One JSON document on stdout, for `--json`."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=2) + "\n")
    sys.stdout.flush()


def print_json_line(value: Any) -> None:
    """One line of JSON on stdout, for commands that answer many times."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n")
    sys.stdout.flush()
