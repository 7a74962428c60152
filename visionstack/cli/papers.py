"""`visionstack papers`: both papers' tables and figures beside what was measured here."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import typer

from visionstack import console, paths

_PAGE = (paths.PROJECT or paths.OUT) / "docs" / "papers.md"


def papers(
    *,
    measure: Annotated[
        bool, typer.Option("--measure", help="First measure the papers' networks on this machine.")
    ] = False,
    seconds: Annotated[
        float, typer.Option(min=0.1, help="At least, for each scenario of --measure.")
    ] = 20.0,
    results: Annotated[Path, typer.Option(help="Where the commands' JSON lies.")] = paths.OUT,
    page: Annotated[Path, typer.Option(help="The Markdown page to write.")] = _PAGE,
) -> None:
    """Write docs/papers.md from what was measured; what it has more of stays."""
    from visionstack.papers.document import MODELS, generate

    if measure:
        from visionstack.compare import session
        from visionstack.compare.plan import Request

        for model in MODELS:
            request = Request(
                local=True,
                darknet=shutil.which("darknet") is not None,
                scenarios=["single-stream", "camera:30"],
                seconds=seconds,
                picture=paths.SAMPLES / "dog.jpg",
            )
            session.start(
                request,
                models=[model],
                cloud="local",
                out=results / "papers" / model,
                strategy="speed",
            )
    made = generate(results, page)
    if made.kept:
        console.err.print(f"kept as they were, since {results} does not hold them:", markup=False)
    for row in made.kept:
        console.err.print(f"  {row}", markup=False)
    console.err.print(f"{page} and {made.html}")
