"""The verdict at the head of a comparison's report: its sentence, the candidates, the frontier."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from visionstack.compare.record import Record
from visionstack.compare.verdict import Candidate, Verdict
from visionstack.report.figures import Absent, Cell, computed, measured
from visionstack.report.sections import Frontier, Note, Point, Row, Section, Table


def verdict_sections(verdict: Verdict | None, records: Sequence[Record]) -> list[Section]:
    """The sentence first; then every candidate, with who beats it, and the plane of both."""
    missing = _missing(records)
    if verdict is None:
        why = "; ".join(missing) or "no accuracy was measured (--labels)"
        return [Note(f"No verdict: {why}.", "warning", title="Which is worth its money?")]
    sections: list[Section] = [
        Note(verdict.sentence, title="Which is worth its money?"),
        _table(verdict, records, missing),
    ]
    if len(verdict.candidates) > 1:
        sections.append(_plane(verdict))
    return sections


def _table(verdict: Verdict, records: Sequence[Record], missing: Sequence[str]) -> Table:
    metric = verdict.winner.metric
    labels = next(record.accuracy for record in records if record.accuracy)
    ranked = sorted(verdict.candidates, key=lambda one: -one.accuracy.value)
    note = (
        f"{metric} over {labels['pictures']} labelled pictures of {Path(labels['source']).name}, "
        f"{labels['intervals']}; scored on this machine with the same artifact, engine and "
        "precision. A candidate is beaten by one that is no worse in any figure and better in one."
    )
    if missing:
        note += f" Left out: {'; '.join(missing)}."
    return Table(
        "Accuracy, time and money",
        ["candidate", metric, "p99", "$ per million", "draws won", "beaten by"],
        [_row(one, verdict) for one in ranked],
        note=note,
        narrow=(0, 1, 2, 3, 5),
    )


def _row(one: Candidate, verdict: Verdict) -> Row:
    cells: list[Cell] = [
        one.name,
        measured(one.accuracy.value, spread=one.accuracy.spread, spread_is="95 % interval"),
        measured(one.p99_s * 1000, "ms", samples=one.figures.latency.samples),
        Absent("no price")
        if one.usd_per_million is None
        else computed(one.usd_per_million, "USD", source="price over images a second"),
        f"{verdict.shares.get(one.name, 0.0):.0%}" if verdict.shares else "",
        verdict.beaten.get(one.name, "none: on the frontier"),
    ]
    return Row(cells, winner=one is verdict.winner)


def _plane(verdict: Verdict) -> Frontier:
    priced = verdict.priced
    return Frontier(
        "Errors against money" if priced else "Errors against time",
        [
            Point(
                one.name,
                (one.usd_per_million or 0.0) if priced else one.figures.latency.p50 * 1000,
                1 - one.accuracy.value,
            )
            for one in verdict.candidates
        ],
        "USD a million pictures" if priced else "milliseconds a picture, p50",
        f"1 - {verdict.winner.metric}",
        intro="Nearer to the lower left is better.",
    )


def _missing(records: Sequence[Record]) -> list[str]:
    return [
        f"{record.model} {name}: {known['reason']}"
        for record in records
        for name, known in record.accuracy.get("variants", {}).items()
        if "reason" in known
    ]
