"""Folders that `python -m visionstack.packaging` builds and the stacks deploy."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from stacks.catalog import Arch
from stacks.errors import PackageMissingError


@dataclass(frozen=True, slots=True)
class PackageTarget:
    """One folder that `python -m visionstack.packaging` builds and a stack deploys.

    `variant` is the packaging mode of a classifier, the compute kind of an instance, and empty for
    the warmer, whose package is the same everywhere.
    """

    kind: Literal["classifier", "warmer", "instance"]
    python: str
    arch: Arch
    variant: str = ""

    @property
    def folder(self) -> Path:
        """Where it lies below the build folder."""
        parts = [self.python, self.arch, *([self.variant] if self.variant else [])]
        if self.kind == "instance":
            return Path("instance") / "-".join(parts)
        return Path("lambda") / "-".join([self.kind, *parts])


@dataclass(frozen=True, slots=True)
class PackageFolders:
    """Where the packages lie: `build/` beside the cdk.json that cdk runs the app from."""

    root: Path = field(default_factory=lambda: Path.cwd() / "build")

    def folder(self, target: PackageTarget) -> Path:
        """The folder of one package.

        Raises:
            PackageMissingError: when it has not been built, with the command that does.
        """
        folder = self.root / target.folder
        if not folder.is_dir():
            raise PackageMissingError(
                f"The package {target.folder} is missing from {self.root};"
                " python -m visionstack.packaging builds it."
            )
        return folder
