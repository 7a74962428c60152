"""A report without a browser: on the terminal, as Markdown, and its tables as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final, TypeVar

from runtime.measurement.statistics import summarize
from visionstack.report.figures import Absent, Cell, Figure, Kind, format_number
from visionstack.report.sections import (
    Bars,
    Box,
    Facts,
    Frontier,
    Headlines,
    Latency,
    Lines,
    Note,
    Pictures,
    Rankings,
    Section,
    Table,
    Tiles,
)

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table as RichTable
    from rich.text import Text as RichText

    from visionstack.report.writing import Report

T = TypeVar("T")
_WIDE: Final = 120
_FIRST_COLUMN: Final = 14
_STYLE: Final = {Kind.MEASURED: "bold", Kind.PAPER: "italic yellow", Kind.COMPUTED: "cyan"}


def latency_lines(plot: Latency) -> list[str]:
    """One line a series: its percentiles, samples and marks."""
    lines = []
    for series in plot.series:
        if not series.values:
            lines.append(f"{series.name}: no samples")
            continue
        summary = summarize(series.values)
        marks = "".join(f" ({mark.meaning})" for mark in summary.marks)
        lines.append(
            f"{series.name}: p50 {format_number(summary.p50)}, p90 {format_number(summary.p90)}, "
            f"p99 {format_number(summary.p99)}, max {format_number(summary.maximum)} {plot.unit} "
            f"over {summary.samples:,} samples{marks}"
        )
    return lines


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


def _box(box: Box) -> str:
    return box.label if box.confidence is None else f"{box.label} {box.confidence:.0%}"


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


def plain_lines(section: Section) -> list[str]:  # noqa: PLR0911 - one return a kind of section
    """What a section says, in lines of text."""
    if isinstance(section, Headlines):
        return [
            f"{item.label}: {_plain(item.figure)}{f' ({item.detail})' if item.detail else ''}"
            for item in section.items
        ]
    if isinstance(section, Facts):
        return [f"{fact.name}: {_plain(fact.value)}" for fact in section.facts]
    if isinstance(section, Latency):
        return latency_lines(section)
    if isinstance(section, Pictures):
        return [
            f"{picture.caption or picture.alt}: "
            + (", ".join(_box(box) for box in picture.boxes) or "no boxes")
            for picture in section.pictures
        ]
    if isinstance(section, Rankings):
        return [
            f"{ranking.name}: " + ", ".join(f"{e.label} {e.share:.0%}" for e in ranking.entries)
            for ranking in section.rankings
        ]
    if isinstance(section, Tiles):
        return [
            f"{row.name}: {sum(tile.state == 'good' for tile in row.tiles)} of {len(row.tiles)}"
            + (f"; {row.detail}" if row.detail else "")
            for row in section.rows
        ]
    if isinstance(section, Bars):
        return [
            f"{bar.name}: {format_number(sum(bar.parts.values()))} {section.x_label}"
            for bar in section.bars
        ]
    if isinstance(section, Frontier | Lines):
        return [
            f"{p.name}: {format_number(p.x)} {section.x_label}, "
            f"{format_number(p.y)} {section.y_label}"
            for p in section.points
        ]
    return [section.text] if isinstance(section, Note) else []


def _plain(value: Cell) -> str:
    if isinstance(value, Figure):
        return value.text if value.kind is Kind.MEASURED else f"{value.text} ({value.kind.value})"
    return value.reason if isinstance(value, Absent) else value


def markdown(report: Report, *, level: int = 1) -> str:
    """The report as GitHub Markdown; the paper's figures are italic, computed ones carry an ƒ."""
    parts = [f"{'#' * level} {report.title}"]
    if report.subtitle:
        parts.append(report.subtitle)
    if report.machine:
        parts.append(f"Machine: {report.machine}")
    parts.append("Figures: **measured**, _paper_, ƒ computed.")
    for section in report.sections:
        title = f"{'#' * (level + 1)} {section.title}" if section.title else ""
        intro = "" if isinstance(section, Note) else section.intro
        parts += [part for part in (title, intro, _markdown_body(section)) if part]
    if report.versions:
        parts.append("Versions: " + ", ".join(f"{k} {v}" for k, v in report.versions.items()))
    return "\n\n".join(parts) + "\n"


def _markdown_body(section: Section) -> str:
    if isinstance(section, Table):
        return markdown_table(section)
    if isinstance(section, Note):
        return f"> {'**Warning.** ' if section.level == 'warning' else ''}{section.text}"
    return "\n".join(f"- {line}" for line in plain_lines(section))


def markdown_table(table: Table) -> str:
    """The table as GitHub Markdown, with its note below."""
    lines = [
        "| " + " | ".join(table.columns) + " |",
        "|" + "|".join(" --- " for _ in table.columns) + "|",
    ]
    for row in table.rows:
        cells = [markdown_cell(value) for value in row.cells]
        if row.winner and cells:
            cells[0] += " ★"
        lines.append("| " + " | ".join(cells) + " |")
    if table.note:
        lines += ["", table.note]
    return "\n".join(lines)


def markdown_cell(value: Cell) -> str:
    """One cell; a pipe inside it is escaped."""
    if isinstance(value, Absent):
        text = f"_{value.reason}_"
    elif isinstance(value, Figure):
        mark = " (!)" if value.marks else ""
        text = {
            Kind.MEASURED: f"**{value.text}**{mark}",
            Kind.PAPER: f"_{value.text}_",
            Kind.COMPUTED: f"ƒ {value.text}{mark}",
        }[value.kind]
        text += f" ({value.interval})" if value.interval else ""
    else:
        text = value
    return text.replace("|", "\\|").replace("\n", " ")


def csv_tables(tables: Sequence[Table]) -> str:
    """Every table in long form: a line a cell, with value, unit, kind, samples and spread."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(
        [
            "table",
            "row",
            "column",
            "value",
            "unit",
            "kind",
            "samples",
            "low",
            "high",
            "marks",
            "source",
        ]
    )
    for table in tables:
        for row in table.rows:
            head = row.cells[0] if row.cells else ""
            name = _plain(head)
            for column, value in zip(table.columns[1:], row.cells[1:], strict=False):
                writer.writerow([table.title, name, column, *_csv_cell(value)])
    return file.getvalue()


def _csv_cell(value: Cell) -> list[object]:
    if isinstance(value, Absent):
        return ["", "", "absent", "", "", "", "", value.reason]
    if isinstance(value, str):
        return [value, "", "text", "", "", "", "", ""]
    low, high = value.spread if value.spread else ("", "")
    return [
        value.printed if value.printed is not None else value.value,
        value.unit,
        value.kind.value,
        "" if value.samples is None else value.samples,
        low,
        high,
        " ".join(value.marks),
        value.source or "",
    ]
