"""`visionstack demo`."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer

from visionstack import console, paths
from visionstack.cli.options import OutOption
from visionstack.cli.page import opened


def demo(
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave the embedded cloud up when it is done.")
    ] = False,
    out: OutOption = paths.OUT / "demo",
) -> None:
    """Deploy both lanes to the embedded cloud, use them, and write a report."""
    from visionstack.demo import journey

    finished = journey.run(out, keep=keep)
    console.out.print(
        f"\nReport: {finished.html} (data: {finished.json})", soft_wrap=True, markup=False
    )
    if console.out.is_terminal:
        opened(finished.html.resolve().as_uri())
    if finished.kept:
        console.out.print(
            "The embedded cloud is still up. Try:\n"
            f"{activation()}"
            f"  visionstack stream {paths.sample('dog.jpg')} --json\n"
            f"  visionstack stream {paths.sample('pedestrians.avi')} --save out/pedestrians.mp4\n"
            f"  visionstack classify {paths.sample('dog.jpg')}\n"
            "  visionstack wakeup\n"
            "  visionstack local status\n"
            "  visionstack local down"
        )


def activation() -> str:
    """The line that lets a shell find this `visionstack`: `make` runs it without; or nothing."""
    script = Path(sys.prefix) / "bin" / "activate"
    found = shutil.which("visionstack")
    if not script.is_file() or (found and Path(found).parent == script.parent):
        return ""
    here = Path.cwd()
    near = script.relative_to(here) if script.is_relative_to(here) else script
    return f"  . {shlex.quote(str(near))}\n"
