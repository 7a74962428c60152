"""A report's tables as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from visionstack.report.figures import Absent, Cell
from visionstack.report.lines import plain_cell
from visionstack.report.sections import Table


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
            name = plain_cell(head)
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
