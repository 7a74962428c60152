"""A report without a browser: on the terminal, or plainly, into a pipe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final, TypeVar

from visionstack.report.figures import Absent, Cell, Figure, Kind
from visionstack.report.lines import plain_lines
from visionstack.report.sections import (
    Note,
    Section,
    Table,
)

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table as RichTable
    from rich.text import Text as RichText

    from visionstack.report.sections import Report

T = TypeVar("T")
_WIDE: Final = 120
_FIRST_COLUMN: Final = 14
_STYLE: Final = {Kind.MEASURED: "bold", Kind.PAPER: "italic yellow", Kind.COMPUTED: "cyan"}


def show(report: Report, console: Console) -> None:
    """Print the report on a terminal (or plainly, into a pipe)."""
    from rich.rule import Rule

    console.print(Rule(report.title, align="left"))
    if report.machine:
        console.print(f"[dim]{report.machine}[/]")
    console.print(
        "[dim]figures: [/][bold]● measured[/]  [italic yellow]❝ paper[/]  [cyan]ƒ computed[/]"
    )
    for section in report.sections:
        for piece in _terminal(section, width=console.width):
            console.print(piece)


def rich_table(table: Table, *, width: int = _WIDE) -> RichTable:
    """The table as Rich draws it; commands that fill one while they measure use it live."""
    narrow = width < _WIDE
    if narrow and table.narrow:
        table = _narrowed(table)
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    grid = RichTable(
        title=table.title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD
    )
    heads = [len(row.cells[0]) for row in table.rows if row.cells and isinstance(row.cells[0], str)]
    for place, name in enumerate(table.columns):
        numeric = any(
            isinstance(row.cells[place], Figure) for row in table.rows if place < len(row.cells)
        )
        grid.add_column(
            name,
            justify="right" if numeric else "left",
            overflow="fold",
            # Fixed, since Rich shrinks a column below its least width and then cuts the last one.
            width=min(_FIRST_COLUMN, max(heads, default=0) + 2) if place == 0 and narrow else None,
        )
    for row in table.rows:
        cells = [_terminal_cell(value) for value in row.cells]
        if row.winner and cells:
            cells[0] = Text.assemble(cells[0], " ★")
        grid.add_row(*cells, style="dim" if row.absent else None)
    if table.note:
        grid.caption = table.note
        grid.caption_justify = "left"
    return grid


def _narrowed(table: Table) -> Table:
    def kept(cells: Sequence[T]) -> list[T]:
        return [cells[place] for place in table.narrow if place < len(cells)]

    rows = [replace(row, cells=kept(row.cells)) for row in table.rows]
    return replace(table, columns=kept(table.columns), rows=rows, narrow=())


def _terminal_cell(value: Cell) -> RichText:
    from rich.text import Text

    if isinstance(value, str):
        return Text(value)
    if isinstance(value, Absent):
        return Text(value.reason, style="dim italic")
    mark = "!" if value.marks else ""
    symbol = "" if value.kind is Kind.MEASURED else f"{value.kind.symbol} "
    interval = f" ({value.interval})" if value.interval else ""
    return Text(f"{symbol}{value.text}{mark}{interval}", style=_STYLE[value.kind])


def _terminal(section: Section, *, width: int) -> list[RenderableType]:
    if isinstance(section, Table):
        return [rich_table(section, width=width)]
    if isinstance(section, Note):
        colour = "yellow" if section.level == "warning" else "blue"
        return [f"[{colour}]▍[/] {_escape(section.text)}"]
    title = [f"\n[bold]{_escape(section.title)}[/]"] if section.title else []
    return [*title, *(f"  {_escape(line)}" for line in plain_lines(section))]


def _escape(text: str) -> str:
    from rich.markup import escape

    return escape(text)
