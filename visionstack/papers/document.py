"""The document itself, and the measurements it wants that this machine can make."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from runtime.measurement import machine
from visionstack.papers import serverless_2020, streaming_2019
from visionstack.papers.evidence import gather
from visionstack.report.markdown import markdown
from visionstack.report.sections import Report
from visionstack.report.write import replace_file, write

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


def generate(folder: Path, page: Path) -> Path:
    """Write the Markdown page, and the HTML beside the other reports.

    Raises:
        VisionstackError: one of them cannot be written.
    """
    report = document(folder)
    replace_file(page, markdown(report))
    return write(report, folder / "papers", formats=["html", "json"])["html"]
