"""One table or figure of a paper, as it stands in the document."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from runtime.measurement.machine import Machine
from runtime.measurement.results import Measurement, RunResult
from visionstack.report.figures import Absent, Cell, Figure, measured
from visionstack.report.sections import Row, Table

COLUMNS = ("what", "paper", "ours", "conditions of ours")
Line = tuple[str, Cell, Cell, str]
"""A cell for each of the columns."""


@dataclass(frozen=True)
class Exhibit:
    """What the paper shows, what this project has for it, and what is missing and why."""

    title: str
    rows: Sequence[Line]
    missing: str = ""
    intro: str = ""
    labels: str = ""
    """Matches what a row is called that is made of results, whichever results are at hand; the
    other rows are always there."""

    def table(self) -> Table:
        """As a section of the report."""
        note = f"Not measured here: {self.missing}" if self.missing else ""
        return Table(self.title, COLUMNS, [Row(row) for row in self.rows], self.intro, note)


def seconds(found: Measurement | None, otherwise: Absent) -> Figure | Absent:
    """A measurement's median in seconds, with its spread."""
    if found is None or found.latency_s is None:
        return otherwise
    summary = found.latency_s
    return measured(
        summary.p50,
        "s",
        samples=summary.samples,
        spread=(summary.p10, summary.p90),
        marks=summary.marks[:1],
    )


def conditions(result: RunResult | None) -> str:
    """Machine, engine, model and picture of a result."""
    if result is None or result.subject is None:
        return ""
    subject = result.subject
    weights = "" if subject.get("weights_trained", True) else ", random weights"
    return (
        f"{short(result.machine)}; {subject.get('engine')} {subject.get('precision', '')}; "
        f"{subject.get('model')}{weights}, {subject.get('picture')}"
    )


def short(machine: Machine) -> str:
    """A machine in a few words."""
    gpu = f", {machine.gpus[0].name}" if machine.gpus else ", no GPU"
    return f"{machine.cpu}, {machine.cores} cores{gpu}"
