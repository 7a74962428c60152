"""What goes into the package of each target: code, requirements, models and limits."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from stacks.settings.model import PackageTarget
from visionstack import paths

LAMBDA_GLIBC: Final = 34
INSTANCE_GLIBC: Final = {"cpu": 34, "gpu": 39}
"""Minor version of glibc 2: Amazon Linux 2023 has 2.34 (Lambda from Python 3.12, CPU instances),
Ubuntu 24.04 has 2.39 (the Deep Learning AMI of GPU instances)."""
BRINGS_MODEL: Final = frozenset({"auto", "model-in-package"})
"""Packagings that put a built model into the function's package."""
RUNTIME: Final = paths.RUNTIME
INSTANCE_FILES: Final = Path(__file__).parent / "instance"


@dataclass(frozen=True)
class Recipe:
    """The inputs of one package."""

    target: PackageTarget
    code: tuple[str, ...]
    """Files and folders of `runtime/`."""
    requirements: tuple[Path, ...]
    glibc: int
    model: Path | None = None
    """A built model artifact that goes inside, `.models/{name}`."""
    model_needed: bool = True
    """Whether it has to be there and to fit; otherwise the package does without it."""

    @property
    def name(self) -> str:
        return self.target.folder.name if self.is_lambda else f"instance-{self.target.folder.name}"

    @property
    def is_lambda(self) -> bool:
        return self.target.kind != "instance"

    @property
    def machine(self) -> str:
        """The architecture as wheels call it."""
        return "aarch64" if self.target.arch == "arm64" else "x86_64"

    def code_files(self) -> list[Path]:
        """Every source file, sorted; never tests, caches or requirements."""
        found: list[Path] = []
        for name in self.code:
            place = RUNTIME / name
            found += [place] if place.is_file() else _sources(place)
        return sorted(found)


def recipe(target: PackageTarget, *, classifier_model: str) -> Recipe:
    """The recipe of a target; `classifier_model` matters where the model goes inside."""
    shared = ("__init__.py", "backoff.py", "contract.py", "redaction.py")
    match target.kind:
        case "warmer":
            return Recipe(
                target=target,
                code=(*shared, "warmer"),
                requirements=(RUNTIME / "warmer" / "requirements.txt",),
                glibc=LAMBDA_GLIBC,
            )
        case "classifier":
            inside = target.variant in BRINGS_MODEL
            name = "requirements-s3.txt" if target.variant == "s3-packages" else "requirements.txt"
            return Recipe(
                target=target,
                code=(*shared, "inference", "classifier"),
                requirements=(RUNTIME / "classifier" / name,),
                glibc=LAMBDA_GLIBC,
                model=paths.MODELS / classifier_model if inside else None,
                model_needed=target.variant == "model-in-package",
            )
        case "instance":
            # Markers would be evaluated for the desk's machine, so what only some targets can have
            # stands in a file of its own.
            extra = RUNTIME / "streaming" / f"requirements-{target.variant}-{target.arch}.txt"
            return Recipe(
                target=target,
                code=(
                    *shared,
                    "page_headers.py",
                    "protocol",
                    "inference",
                    "streaming",
                    "measurement",
                ),
                requirements=(
                    RUNTIME / "streaming" / "requirements.txt",
                    *([extra] if extra.exists() else []),
                    *_loadgen(target),
                ),
                glibc=INSTANCE_GLIBC[target.variant],
            )


def _loadgen(target: PackageTarget) -> list[Path]:
    """MLPerf's LoadGen, where it has a wheel; elsewhere the measurement drives the work itself."""
    if target.python == "3.14":
        return []
    file = RUNTIME / "measurement" / f"requirements-{target.arch}.txt"
    return [file] if file.exists() else []


def _sources(folder: Path) -> list[Path]:
    return [
        path
        for path in folder.rglob("*")
        if path.is_file()
        and "__pycache__" not in path.parts
        and not path.name.startswith("requirements")
    ]
