"""The document itself, and the measurements it wants that this machine can make."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from runtime.measurement import machine
from visionstack.errors import UsageError, VisionstackError
from visionstack.papers import serverless_2020, streaming_2019
from visionstack.papers.evidence import gather
from visionstack.report.markdown import markdown
from visionstack.report.sections import Report
from visionstack.report.write import replace_file, write

_SECTION: Final = "\n## "
MODELS: Final = ("yolov3-tiny", "yolov3")
"""What the streaming paper timed; `--measure` times them on this machine."""


def document(folder: Path) -> Report:
    """Every table and figure, from what lies below `folder`."""
    evidence = gather(folder)
    shown = [*streaming_2019.exhibits(evidence), *serverless_2020.exhibits(evidence)]
    return Report(
        title="The two papers, reproduced",
        subtitle=(
            "Every table and figure of Yun, Kim and Jeong 2019 (streaming) and of Lee, Lee and "
            "Kim 2020 (serverless), with the paper's value, ours, the conditions, and what could "
            "not be measured here. Made by `visionstack papers`; the papers' own measurements by "
            "`visionstack papers --measure`."
        ),
        machine=machine.describe().line,
        versions=machine.versions(),
        sections=[exhibit.table() for exhibit in shown],
    )


def generate(folder: Path, page: Path, *, only: str = "") -> Path:
    """Write the Markdown page, and the HTML beside the other reports.

    With `only` the page keeps all sections but those whose title has this text: what they show may
    have been measured long after the rest, of which nothing is left here.

    Raises:
        VisionstackError: one of them cannot be written, or no title has the text.
    """
    report = document(folder)
    text = markdown(report)
    replace_file(page, _with_sections(page, text, only) if only else text)
    return write(report, folder / "papers", formats=["html", "json"])["html"]


def _with_sections(page: Path, text: str, only: str) -> str:
    """The page as it is, with those sections of `text` whose title has `only`."""
    fresh = {part.partition("\n")[0]: part for part in text.split(_SECTION)[1:]}
    chosen = {title: part for title, part in fresh.items() if only in title}
    if not chosen:
        raise UsageError(
            f"No table or figure is called {only!r}.", remedy=f"There are: {', '.join(fresh)}."
        )
    try:
        kept = page.read_text(encoding="utf-8").split(_SECTION)
    except OSError as error:
        raise VisionstackError(
            f"{page} cannot be read: {error.strerror or error}.",
            remedy="Write the whole page first, without --only.",
        ) from error
    lost = chosen.keys() - {part.partition("\n")[0] for part in kept[1:]}
    if lost:
        raise VisionstackError(
            f"{page} has no section {', '.join(sorted(lost))}.",
            remedy="Write the whole page, without --only.",
        )
    return _SECTION.join(
        [kept[0], *(chosen.get(part.partition("\n")[0], part) for part in kept[1:])]
    )
