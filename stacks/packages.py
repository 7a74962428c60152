"""What `python -m visionstack.packaging` builds and the stacks deploy."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from runtime.contract import Arch
from stacks.errors import PackageMissingError


@dataclass(frozen=True, slots=True)
class PackageTarget:
    """One package: a folder, and the zip of it that a stack deploys.

    `variant` is the packaging mode of a classifier, the compute kind of an instance, and empty for
    the warmer, whose package is the same everywhere.
    """

    kind: Literal["classifier", "warmer", "instance"]
    python: str
    arch: Arch
    variant: str = ""

    @property
    def folder(self) -> Path:
        """Where it lies below the build folder, laid out to look into."""
        parts = [self.python, self.arch, *([self.variant] if self.variant else [])]
        if self.kind == "instance":
            return Path("instance") / "-".join(parts)
        return Path("lambda") / "-".join([self.kind, *parts])

    @property
    def archive(self) -> Path:
        """Where its zip lies below the build folder."""
        return self.folder.with_name(f"{self.folder.name}.zip")


@dataclass(frozen=True, slots=True)
class PackageArchives:
    """Where the packages lie: `build/` beside the cdk.json that cdk runs the app from.

    Zips and not folders, which CDK would zip anew for every account, region and embedded cloud.
    """

    root: Path = field(default_factory=lambda: Path.cwd() / "build")

    def archive(self, target: PackageTarget) -> Path:
        """The zip of one package.

        Raises:
            PackageMissingError: when it has not been built, with the command that does.
        """
        archive = self.root / target.archive
        if not archive.is_file():
            raise PackageMissingError(
                f"The package {target.archive} is missing from {self.root};"
                " python -m visionstack.packaging builds it."
            )
        return archive
