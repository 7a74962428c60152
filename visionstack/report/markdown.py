"""A report as Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from visionstack.report.figures import Absent, Cell, Figure, Kind
from visionstack.report.lines import plain_lines
from visionstack.report.sections import Note, Section, Table

if TYPE_CHECKING:
    from visionstack.report.sections import Report


def markdown(report: Report) -> str:
    """The report as GitHub Markdown; the paper's figures are italic, computed ones carry an ƒ."""
    parts = [f"# {report.title}"]
    if report.subtitle:
        parts.append(report.subtitle)
    if report.machine:
        parts.append(f"Machine: {report.machine}")
    parts.append("Figures: **measured**, _paper_, ƒ computed.")
    for section in report.sections:
        title = f"## {section.title}" if section.title else ""
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
