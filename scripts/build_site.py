"""Builds the documents as a site: `.venv/bin/python scripts/build_site.py [FOLDER]` (out/site).

Every link and anchor between the pages is checked, and a wrong one ends the build. The site asks
no other host for anything: the diagrams are drawn by node_modules' copy of mermaid.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

CHECKOUT: Final = Path(__file__).resolve().parent.parent
MERMAID: Final = CHECKOUT / "node_modules" / "@mermaid-js" / "tiny" / "dist" / "mermaid.tiny.js"


class SiteError(Exception):
    """What the build complains about."""


def build(folder: Path, *, docs: Path = CHECKOUT / "docs") -> None:
    """Replace `folder` by the site. Raises SiteError."""
    # Built in a copy: beside its configuration the builder keeps a cache that it trusts too much.
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        shutil.copytree(docs, work / "docs")
        shutil.copy(CHECKOUT / "zensical.toml", work)
        if not MERMAID.is_file():
            raise SiteError(f"{MERMAID} is missing: run `make setup`.")
        shutil.copy(MERMAID, work / "docs" / "assets")
        zensical = str(Path(sys.executable).with_name("zensical"))
        done = subprocess.run(
            [zensical, "build", "--strict"], cwd=work, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise SiteError(done.stdout + done.stderr)
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(work / "out" / "site", folder)


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else CHECKOUT / "out" / "site"
    try:
        build(target)
    except SiteError as error:
        sys.exit(str(error))
    print(f"built: {target / 'index.html'}")
