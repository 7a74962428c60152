"""Where the command line writes: people read stderr, programs read stdout.

Names and addresses are printed as they are: rich would make an emoji of the `:abc:` in one.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

if TYPE_CHECKING:
    from rich.progress import Progress

_STEERING: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
"""C0 without tab and line feed, C1, what turns the direction of writing (UAX 9), and what stands
for the bytes of a file's name that is no UTF-8: no output takes it."""
_C0_PICTURES: Final = 0x2400


class _PlainTextConsole(Console):
    """Text cannot steer the terminal: labels, names and log lines come from others, and an escape
    sequence could clear the screen, write to the clipboard or look like the command's own words."""

    def render_str(self, text: str, **options: Any) -> Text:
        """Strings, so that tables measure what is shown."""
        return super().render_str(_STEERING.sub(_visible, text), **options)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Everything else."""
        for segment in super().render(renderable, options):
            if segment.control is None and _STEERING.search(segment.text):
                yield Segment(_STEERING.sub(_visible, segment.text), segment.style)
            else:
                yield segment


def _visible(found: re.Match[str]) -> str:
    code = ord(found[0])
    return chr(_C0_PICTURES + code) if code < 0x20 else "\ufffd"


def _escaped(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"


out: Console = _PlainTextConsole(highlight=False, emoji=False)
"""Answers and tables (stdout)."""
err: Console = _PlainTextConsole(stderr=True, highlight=False, emoji=False)
"""Progress, warnings and errors (stderr)."""


def progress(line: Callable[[], str] | None = None) -> Progress:
    """A progress display for whatever takes over two seconds, with the time left.

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
        TimeRemainingColumn,
    )
    from rich.table import Column

    class Line(ProgressColumn):
        max_refresh = 0.2

        def render(self, task: Task) -> Text:
            return Text.from_markup(line() if line is not None else task.description)

    # In a narrow terminal the words give way, not the numbers.
    words, whole = Column(overflow="fold"), Column(no_wrap=True)
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", table_column=words) if line is None else Line(words),
        BarColumn(bar_width=12, table_column=whole),
        MofNCompleteColumn(table_column=whole.copy()),
        TimeElapsedColumn(table_column=whole.copy()),
        TextColumn("left"),
        TimeRemainingColumn(table_column=whole.copy()),
        console=err,
        transient=not err.is_terminal,
    )


def print_json(value: Any) -> None:
    """One JSON document on stdout, for `--json`."""
    sys.stdout.write(_document(value, indent=2))
    sys.stdout.flush()


def print_json_line(value: Any) -> None:
    """One line of JSON on stdout, for commands that answer many times."""
    sys.stdout.write(_document(value, separators=(",", ":")))
    sys.stdout.flush()


def _document(value: Any, **form: Any) -> str:
    """With the signs that steer a terminal as JSON's escapes; json leaves those above ASCII."""
    text = json.dumps(value, ensure_ascii=False, **form)
    escaped = _STEERING.sub(_escaped, text) + "\n"
    try:
        escaped.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        # A pipe on Windows, or a locale of the last century: JSON needs no more than ASCII.
        return _STEERING.sub(_escaped, json.dumps(value, **form)) + "\n"
    return escaped
