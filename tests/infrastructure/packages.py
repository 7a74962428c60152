"""Packages small enough to synthesize with."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from stacks.catalog import Catalog
from stacks.packages import PackageArchives
from stacks.settings.model import DeploymentSettings


def write_packages(root: Path, contexts: Iterable[Mapping[str, Any]]) -> PackageArchives:
    """Zips with a file in each, for everything that these settings deploy."""
    catalog = Catalog.load()
    for context in contexts:
        for target in DeploymentSettings.from_context(context).package_targets(catalog):
            archive = root / target.archive
            archive.parent.mkdir(parents=True, exist_ok=True)
            with zipfile.ZipFile(archive, "w") as package:
                # With its time: as bytes of the clock it would be another asset each time.
                package.writestr(zipfile.ZipInfo("package.txt"), str(target))
    return PackageArchives(root)
