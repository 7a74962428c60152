"""Sections as lines of plain text, for those who see no plot."""

from __future__ import annotations

from runtime.measurement.statistics import summarize
from visionstack.report.figures import Absent, Cell, Figure, Kind, format_number
from visionstack.report.sections import (
    Bars,
    Facts,
    Frontier,
    Headlines,
    Latency,
    Lines,
    Note,
    Pictures,
    Rankings,
    Section,
    Tiles,
)


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


def plain_lines(section: Section) -> list[str]:  # noqa: PLR0911 - one return a kind of section
    """What a section says, in lines of text."""
    if isinstance(section, Headlines):
        return [
            f"{item.label}: {plain_cell(item.figure)}{f' ({item.detail})' if item.detail else ''}"
            for item in section.items
        ]
    if isinstance(section, Facts):
        return [f"{fact.name}: {plain_cell(fact.value)}" for fact in section.facts]
    if isinstance(section, Latency):
        return latency_lines(section)
    if isinstance(section, Pictures):
        return [
            f"{picture.caption or picture.alt}: "
            + (", ".join(box.text for box in picture.boxes) or "no boxes")
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


def plain_cell(value: Cell) -> str:
    if isinstance(value, Figure):
        return value.text if value.kind is Kind.MEASURED else f"{value.text} ({value.kind.value})"
    return value.reason if isinstance(value, Absent) else value
