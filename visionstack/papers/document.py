"""The document itself, and the measurements it wants that this machine can make."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from runtime.measurement import machine
from visionstack.errors import VisionstackError
from visionstack.files import replace_file
from visionstack.papers import serverless_2020, streaming_2019
from visionstack.papers.evidence import gather
from visionstack.papers.exhibit import Exhibit
from visionstack.report.markdown import markdown
from visionstack.report.sections import Report
from visionstack.report.write import write

MODELS: Final = ("yolov3-tiny", "yolov3")
"""What the streaming paper timed; `--measure` times them on this machine."""


def exhibits(folder: Path) -> list[Exhibit]:
    """Every table and figure, from what lies below `folder`."""
    evidence = gather(folder)
    return [*streaming_2019.exhibits(evidence), *serverless_2020.exhibits(evidence)]


def document(shown: Sequence[Exhibit]) -> Report:
    """The report of them."""
    return Report(
        title="The two papers, reproduced",
        subtitle=(
            "Every table and figure of Yun, Kim and Jeong 2019 (streaming) and of Lee, Lee and "
            "Kim 2020 (serverless), with the paper's value, ours, the conditions, and what could "
            "not be measured here. Made by `visionstack papers`; the papers' own measurements by "
            "`visionstack papers --measure`."
        ),
        machine=f"{machine.describe().line}, for what was measured last; a row that an earlier run "
        "measured stays, and is of the machine that it names or of another",
        versions=machine.versions(),
        sections=[exhibit.table() for exhibit in shown],
    )


@dataclass(frozen=True)
class Generated:
    """The HTML, and the rows of the page that stand as they stood."""

    html: Path
    kept: tuple[str, ...]


def generate(folder: Path, page: Path) -> Generated:
    """Write the Markdown page, and the HTML beside the other reports.

    A row of the page whose figure or conditions `folder` does not hold stays as it is, one that
    no results would make any more goes.

    Raises:
        VisionstackError: there are no results, or a file cannot be written; the page is as it was.
    """
    if not folder.is_dir():
        raise VisionstackError(
            f"There is no folder of results at {folder}.",
            remedy="Measure first (visionstack papers --measure, visionstack compare run …), or "
            "name the folder: --results DIR",
        )
    shown = exhibits(folder)
    report = document(shown)
    before = page.read_text("utf-8") if page.is_file() else ""
    labels = {f"## {one.title}": one.labels for one in shown}
    text, kept = merged(before, markdown(report), labels)
    html = write(report, folder / "papers", formats=["html", "json"])["html"]
    replace_file(page, text)
    return Generated(html, kept)


def merged(
    before: str, after: str, labels: Mapping[str, str] | None = None
) -> tuple[str, tuple[str, ...]]:
    """The new page with the rows whose figures only the old one has, and what those are called.

    `labels` matches, by an exhibit's heading, the rows that other results would have made.
    """
    old = dict(_exhibits(before))
    kept: list[str] = []
    for title, body in _exhibits(after):
        now = _rows(body)
        known = re.compile((labels or {}).get(title) or "(?!)")
        had = {
            what: row
            for what, row in _rows(old.get(title, ""))
            if what in dict(now) or known.fullmatch(what)
        }
        lost = [what for what, row in had.items() if _says_less(dict(now).get(what, ""), row)]
        if not lost:
            continue
        kept += [f"{title.removeprefix('## ')}: {what}" for what in lost]
        if not _FIGURE.search(body):
            stale = {row for what, row in _rows(old[title]) if what not in had}
            lines = [line for line in old[title].splitlines() if line not in stale]
            after = after.replace(body, "\n".join(lines))
            continue
        lines = [had[what] if what in lost else row for what, row in now]
        lines += [had[what] for what in lost if what not in dict(now)]
        table = "\n".join(row for _, row in now)
        after = after.replace(body, body.replace(table, "\n".join(lines)))
    return after, tuple(kept)


def _exhibits(page: str) -> list[tuple[str, str]]:
    """(title, whole text with its heading) of each, without what follows the last."""
    parts = re.split(r"^(?=## )", page.partition("\nVersions: ")[0] + "\n", flags=re.MULTILINE)[1:]
    return [(part.partition("\n")[0], part.rstrip()) for part in parts]


def _rows(exhibit: str) -> list[tuple[str, str]]:
    """(first cell, line) of its table's rows, without the two lines of its head."""
    lines = [line for line in exhibit.splitlines() if line.startswith("|")]
    return [(line.split(" | ")[0].removeprefix("| "), line) for line in lines[2:]]


def _says_less(row: str, before: str) -> bool:
    """Whether a row lacks the figure, or the conditions, that it had."""
    figure = bool(_FIGURE.search(before)) and not _FIGURE.search(row)
    return figure or (row.endswith("|  |") and not before.endswith("|  |"))


_FIGURE: Final = re.compile(r"\| (\*\*|ƒ )")
"""What begins a cell with a figure of ours."""
