"""What the project's commands have measured so far, read from the JSON they left."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runtime.measurement.results import Measurement, RunResult
from visionstack.compare.record import FILE, Record, Row, load
from visionstack.compare.targets import Kind
from visionstack.errors import VisionstackError


@dataclass(frozen=True)
class Evidence:
    """Results by where they came from; empty where a command was not run."""

    comparisons: Sequence[Record] = ()
    documents: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Other commands' JSON by its path below the folder, such as `bench/sending`."""

    def machine(
        self, model: str, *, kind: Kind = Kind.MACHINE, within: tuple[int, int] | None = None
    ) -> RunResult | None:
        """The newest result of this machine (or of darknet on it) with that model.

        `within` is of a row held to so many processors and MiB.
        """
        for record in self.comparisons:
            if record.model != model:
                continue
            for row in record.rows:
                setting = row.setting or {}
                held = (setting.get("processors"), setting.get("memory_mib"))
                if kind is Kind.MACHINE and held != (within or (None, None)):
                    continue
                if row.kind is kind and (found := row.run_result()) is not None:
                    return found
        return None

    def functions(self) -> list[tuple[Record, Row]]:
        """Every Lambda row that was measured, newest comparison first."""
        return [
            (record, row)
            for record in self.comparisons
            for row in record.rows
            if row.kind is Kind.FUNCTION and row.function and row.function.get("warm")
        ]


def gather(folder: Path) -> Evidence:
    """Read all JSON below `out/`; damaged files are left out, as if they had not been written."""
    comparisons = []
    for path in sorted(folder.rglob(FILE), key=lambda p: p.stat().st_mtime, reverse=True):
        try:
            comparisons.append(load(path))
        except VisionstackError:
            continue
    documents = {}
    for path in sorted(folder.rglob("*.json")):
        if path.name == FILE:
            continue
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if isinstance(value, dict):
            documents[path.relative_to(folder).with_suffix("").as_posix()] = value
    return Evidence(comparisons, documents)


def single_stream(result: RunResult | None, scope: str) -> Measurement | None:
    """The single-stream measurement at a scope."""
    for found in result.measurements if result else ():
        if (found.scenario, found.scope, found.status) == ("single-stream", scope, "measured"):
            return found
    return None
