"""A report and its files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Literal

from visionstack.files import replace_file
from visionstack.report import csv_text, markdown
from visionstack.report.figures import Absent, Figure
from visionstack.report.sections import Report, Table

Format = Literal["json", "html", "md", "csv"]
FORMATS: tuple[Format, ...] = ("json", "html", "md", "csv")


def write(
    report: Report, folder: Path, *, stem: str = "report", formats: Sequence[Format] = FORMATS
) -> dict[Format, Path]:
    """Write the report's files, each replaced at once, and return their paths.

    Raises:
        VisionstackError: the folder cannot be written to.
    """
    from visionstack.report import html

    drawers = {
        "json": lambda: json.dumps(to_json(report), ensure_ascii=False, indent=2) + "\n",
        "html": lambda: html.render(report),
        "md": lambda: markdown.markdown(report),
        "csv": lambda: csv_text.csv_tables([s for s in report.sections if isinstance(s, Table)]),
    }
    written: dict[Format, Path] = {}
    for name in formats:
        path = folder / f"{stem}.{name}"
        replace_file(path, drawers[name]())
        written[name] = path
    return written


def to_json(report: Report) -> dict[str, Any]:
    """What `report.json` holds: the given data, or title, machine, versions and sections."""
    if report.data is not None:
        return dict(report.data)
    return {
        "title": report.title,
        "created": report.created,
        "machine": report.machine,
        "versions": dict(report.versions),
        "sections": [
            {"section": type(section).__name__.lower(), **_plain(section)}
            for section in report.sections
        ],
    }


def _plain(value: Any) -> Any:  # noqa: PLR0911 - one return a type
    if isinstance(value, Figure | Absent):
        return value.to_json()
    if isinstance(value, Enum):
        return value.value
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, bytes):
        return {"bytes": len(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
