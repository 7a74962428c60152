"""What a benchmark's JSON begins with, and how it is written: whole, after every measurement."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from runtime.measurement import machine
from visionstack.files import replace_file


class Results:
    """One benchmark's JSON file. `values` is the document; `save` puts it on the disk."""

    def __init__(self, path: Path, *, title: str, quick: bool) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self.values: dict[str, Any] = {
            "title": title,
            "quick": quick,
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": machine.describe().to_json(),
            "versions": machine.versions(),
            "load_average_at_start": os.getloadavg(),
        }

    def save(self) -> None:
        self.values["saved"] = datetime.now(UTC).isoformat(timespec="seconds")
        replace_file(self._path, json.dumps(self.values, ensure_ascii=False, indent=1) + "\n")


def own_options(doc: str | None) -> argparse.ArgumentParser:
    """For a benchmark that is run by itself, with options of its own beside `--out`."""
    parser = argparse.ArgumentParser(description=doc)
    parser.add_argument("--out", type=Path, default=Path("out/bench"))
    return parser


def table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str] | None = None) -> str:
    """Aligned columns for the terminal, by default the first row's; numbers to three digits."""
    columns = columns or list(rows[0])
    cells = [list(columns)] + [[_cell(row.get(column, "")) for column in columns] for row in rows]
    widths = [max(len(line[index]) for line in cells) for index in range(len(columns))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in cells
    )


def _cell(value: Any) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"
