"""A report without a browser: on the terminal, or plainly, into a pipe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final, TypeVar

from rich import box
from rich.markup import escape
from rich.rule import Rule
from rich.table import Table as RichTable
from rich.text import Text

from visionstack.report.figures import Absent, Cell, Figure, Kind
from visionstack.report.lines import plain_lines
from visionstack.report.sections import (
    Note,
    Report,
    Section,
    Table,
)

if TYPE_CHECKING:
    from rich.console import Console, RenderableType


T = TypeVar("T")
_WIDE: Final = 120
_FIRST_COLUMN: Final = 14
"""Characters that the rows' names have at least on a narrow terminal, if they need them."""
_PADDING: Final = 3
"""Characters of a column beside its text: a blank on each side, and where a line would be."""
_STYLE: Final = {Kind.MEASURED: "bold", Kind.PAPER: "italic yellow", Kind.COMPUTED: "cyan"}


def show(report: Report, console: Console) -> None:
    """Print the report on a terminal (or plainly, into a pipe)."""
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

    grid = RichTable(
        title=table.title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD
    )
    widths = _narrow_widths(table, width) if narrow else [None] * len(table.columns)
    for place, name in enumerate(table.columns):
        numeric = any(
            isinstance(row.cells[place], Figure) for row in table.rows if place < len(row.cells)
        )
        grid.add_column(
            name,
            justify="right" if numeric else "left",
            overflow="fold",
            width=widths[place],
        )
    for row in table.rows:
        cells = [_terminal_cell(value) for value in row.cells]
        if row.winner and cells:
            cells[0] = Text.assemble(cells[0], " ★")
        grid.add_row(*cells, style="dim" if row.absent else None)
    notes = [table.note, *(f"! {meaning}" for meaning in table.mark_meanings())]
    if any(notes):
        grid.caption = "\n".join(filter(None, notes))
        grid.caption_justify = "left"
    return grid


def _narrow_widths(table: Table, width: int) -> list[int | None]:
    """Of each column, in characters; None is what Rich makes of it.

    Rows' names get what the others leave. Where that is too little it is fixed all the same, since
    Rich shrinks a column below its least width and then cuts the last one.
    """
    names = [len(row.cells[0]) for row in table.rows if row.cells and isinstance(row.cells[0], str)]
    wanted = max(names, default=0) + 2
    others: list[int] = []
    left = width - _PADDING - 1
    for place, name in enumerate(table.columns[1:], 1):
        cells = (_terminal_cell(row.cells[place]) for row in table.rows if place < len(row.cells))
        words = (len(word) for word in name.split())
        others.append(max([*words, *(cell.cell_len for cell in cells)], default=0))
        left -= others[-1] + _PADDING
    if left < min(_FIRST_COLUMN, wanted):
        return [min(_FIRST_COLUMN, wanted), *(None for _ in others)]
    return [min(left, wanted), *others]


def _narrowed(table: Table) -> Table:
    def kept(cells: Sequence[T]) -> list[T]:
        return [cells[place] for place in table.narrow if place < len(cells)]

    rows = [replace(row, cells=kept(row.cells)) for row in table.rows]
    return replace(table, columns=kept(table.columns), rows=rows, narrow=())


def _terminal_cell(value: Cell) -> Text:
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
        return [rich_table(section, width=width)] if section.rows else []
    if isinstance(section, Note):
        colour = "yellow" if section.level == "warning" else "blue"
        return [f"[{colour}]▍[/] {escape(section.text)}"]
    lines = [f"  {escape(line)}" for line in plain_lines(section)]
    if not lines:
        return []  # a curve, say: only the page can show it
    title = [f"\n[bold]{escape(section.title)}[/]"] if section.title else []
    return [*title, *lines]
