"""A rehearsal's report, which can go into an issue: nobody's account or address is in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from runtime.redaction import without_identities
from visionstack.rehearse.steps import Outcome, Run
from visionstack.report.figures import Absent, measured
from visionstack.report.sections import Fact, Facts, Note, Report, Row, Section, Table


def build_report(
    run: Run, *, facts: Mapping[str, str], machine: str, versions: Mapping[str, str], emulated: bool
) -> Report:
    """The report of a rehearsal that is through, or of its steps so far.

    Args:
        run: The results.
        facts: What was rehearsed and where, by name.
        machine: The desk's, in a line.
        versions: Of the software, by name.
        emulated: Whether it was the embedded cloud.
    """
    document = shareable(
        {
            "verdict": verdict(run),
            "facts": facts,
            "steps": [asdict(one) for one in run.results],
            "machine": machine,
        }
    )
    # Not the versions: one of four numbers looks like an address.
    document["versions"] = dict(versions)
    return Report(
        title="visionstack rehearse",
        subtitle=document["verdict"],
        machine=document["machine"],
        versions=document["versions"],
        sections=_sections(document, emulated=emulated),
        data=document,
    )


def verdict(run: Run) -> str:
    """The outcomes counted, in a sentence."""
    outcomes = [one.outcome for one in run.results]
    counted = [f"{outcomes.count(one)} {one.value}" for one in Outcome if one in outcomes]
    return f"{len(outcomes)} steps: {', '.join(counted)}."


def shareable(value: Any) -> Any:
    """A document of plain values, its texts without identities and without the user's folder."""
    if isinstance(value, Mapping):
        return {key: shareable(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [shareable(one) for one in value]
    if isinstance(value, str):
        return without_identities(value.replace(str(Path.home()), "~"))
    return value


def _sections(document: Mapping[str, Any], *, emulated: bool) -> list[Section]:
    note = Note(
        "EC2 and Lambda were emulated on this machine: what passed here can still fail on AWS, "
        "where quotas, permissions and real machines come in.",
        title="Emulated",
    )
    return [
        *([note] if emulated else []),
        Facts("What was rehearsed", [Fact(name, told) for name, told in document["facts"].items()]),
        Table(
            title="Steps",
            columns=("Step", "Expected", "Outcome", "Time", "What it saw"),
            rows=[_row(one) for one in document["steps"]],
            note="Account ids, access keys, API ids and IP addresses are struck out (***).",
            narrow=(0, 2, 4),
        ),
    ]


def _row(step: Mapping[str, Any]) -> Row:
    ran = step["outcome"] != Outcome.NOT_RUN
    return Row(
        [
            step["name"],
            step["expected"],
            step["outcome"],
            measured(step["seconds"], "s") if ran else Absent("not run"),
            step["told"],
        ],
        absent=not ran,
    )
