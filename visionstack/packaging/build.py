"""Builds what a deployment needs, and nothing that is there already.

A package is keyed by the hash of everything that goes into it. Its folder and the zip of it, which
is deployed, are made beside their places and moved there; until both are there it counts as not
built. Times are fixed and caches left out, so that the same inputs give the same bytes, and CDK the
same asset.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from runtime.inference.artifact import Artifact
from runtime.inference.errors import ArtifactError
from stacks.catalog import Catalog
from stacks.settings.model import DeploymentSettings, PackageTarget, SettingsError
from visionstack import paths
from visionstack.cloud.local_state import is_loopback
from visionstack.console import err
from visionstack.errors import UsageError
from visionstack.packaging import limits, wheels
from visionstack.packaging.archives import write_archive
from visionstack.packaging.bytecode import compile_package
from visionstack.packaging.errors import PackagingError
from visionstack.packaging.libraries import write_library_archive
from visionstack.packaging.recipes import INSTANCE_FILES, RUNTIME, Recipe, recipe
from visionstack.processes import one_at_a_time

FORMAT: Final = 4
"""Raise it when the way of building changes, so that old packages are built again."""
SMALL_FILES: Final = 64 * 1024
"""Bytes left for what lies beside a model's files: its manifest and the pointer to it."""
FIXED_TIME: Final = 315_619_200
"""1980-01-02, the first day that a zip file can hold in every time zone."""


@dataclass(frozen=True)
class Package:
    """A package that is up to date."""

    target: PackageTarget
    folder: Path
    archive: Path
    """The zip of it, which is deployed."""
    bytes: int
    built: bool
    """Whether this call built it."""

    @property
    def is_lambda(self) -> bool:
        return self.target.kind != "instance"

    def to_json(self) -> dict[str, Any]:
        return {
            **asdict(self.target),
            "folder": str(self.folder),
            "archive": str(self.archive),
            "bytes": self.bytes,
            "built": self.built,
        }


def settings_from(context: Mapping[str, object]) -> DeploymentSettings:
    """Settings of cdk.json with `context` over them; UsageError when one is wrong."""
    document = json.loads((paths.project() / "cdk.json").read_text())
    try:
        return DeploymentSettings.from_context({**document.get("context", {}), **context})
    except SettingsError as error:
        raise UsageError(str(error)) from error


def check_wheels_fit(settings: DeploymentSettings, *, environ: Mapping[str, str]) -> None:
    """PackagingError when functions on AWS would get libraries for another Python.

    The embedded cloud, which `AWS_ENDPOINT_URL` names, runs every function on its own Python.
    """
    endpoint = environ.get("AWS_ENDPOINT_URL", "")
    if settings.wheels_python != settings.lambda_python and not is_loopback(endpoint):
        raise PackagingError(
            f"lambda_wheels_python={settings.wheels_python} does not fit lambda_python="
            f"{settings.lambda_python}: on AWS no function could load its libraries.",
            remedy="Leave it out; for the embedded cloud, set AWS_ENDPOINT_URL to its address.",
        )


def bring_up_to_date(settings: DeploymentSettings) -> list[Package]:
    """Build the packages of a deployment that are missing or out of date.

    PackagingError when wheels can't be found or a package is over Lambda's limit.
    """
    return [
        ensure(recipe(target, classifier_model=settings.classifier_model))
        for target in settings.package_targets(Catalog.load())
    ]


def ensure(what: Recipe, *, build_root: Path = paths.BUILD) -> Package:
    """One package, up to date."""
    folder, archive = build_root / what.target.folder, build_root / what.target.archive
    record = build_root / ".inputs" / f"{what.name}.json"
    key = inputs_hash(what)
    with one_at_a_time(record.with_suffix(".lock")):
        known = _read(record)
        if known.get("inputs") == key and folder.is_dir() and archive.is_file():
            return Package(what.target, folder, archive, int(known["bytes"]), built=False)
        record.unlink(missing_ok=True)
        # cdk makes colours be forced, so whether somebody watches is asked of the stream itself.
        with err.status(f"building {what.name} …") if sys.stderr.isatty() else nullcontext():
            size = _replace(folder, archive, what, build_root=build_root)
        record.write_text(json.dumps({"inputs": key, "bytes": size}) + "\n")
    err.print(f"[dim]built {what.name}: {size / limits.MB:.1f} MB[/]")
    return Package(what.target, folder, archive, size, built=True)


def inputs_hash(what: Recipe) -> str:
    """SHA-256 over everything that a package is made of."""
    digest = hashlib.sha256(f"{FORMAT} {what.target} {what.glibc}".encode())
    files = [wheels.CONSTRAINTS, *what.requirements, *what.code_files()]
    if not what.is_lambda:
        files += sorted(path for path in INSTANCE_FILES.iterdir() if path.is_file())
    for file in files:
        if not file.exists():
            raise PackagingError(f"{file} is missing.")
        digest.update(f"\0{_place(file)}\0".encode())
        digest.update(file.read_bytes())
    if what.model is not None:
        version = _current(what.model, needed=what.model_needed)
        digest.update(f"\0{what.model.name}\0{version}".encode())
    return digest.hexdigest()


def _place(file: Path) -> Path:
    """The same for a checkout and an installed package, so that a move builds nothing again."""
    return (
        file.relative_to(paths.IMPORT_ROOT)
        if paths.IMPORT_ROOT in file.parents
        else Path(file.name)
    )


def _replace(folder: Path, archive: Path, what: Recipe, *, build_root: Path) -> int:
    half = folder.with_name(f".{folder.name}.{os.getpid()}")
    half_archive = half.with_name(f"{half.name}.zip")
    shutil.rmtree(half, ignore_errors=True)
    half.mkdir(parents=True)
    try:
        found = wheels.fetch(what, build_root / ".wheels")
        _copy_code(what, half)
        if what.is_lambda:
            if what.target.variant == "s3-packages":
                write_library_archive(found, half, build_root=build_root)
            else:
                wheels.unpack(found, half)
            compile_package(half, python=what.target.python)
            _add_model(what, half)
            size = limits.check_unzipped(half, name=what.name)
        else:
            _lay_out_instance(what, found, half)
            size = limits.tree_bytes(half)
        _fix_times(half)
        write_archive(half, half_archive, deflated=True)
        if folder.exists():
            shutil.rmtree(folder)
        half.rename(folder)
        half_archive.replace(archive)
    finally:
        shutil.rmtree(half, ignore_errors=True)
        half_archive.unlink(missing_ok=True)
    return size


def _copy_code(what: Recipe, into: Path) -> None:
    for source in what.code_files():
        place = into / "runtime" / source.relative_to(RUNTIME)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, place)


def _add_model(what: Recipe, package: Path) -> None:
    """Put the model's current version beside the code, its hashes checked, unless it may stay out.

    The function does not hash it again at every start.
    """
    model = what.model
    if model is None:
        return
    version = _current(model, needed=what.model_needed)
    if version is None:
        err.print(
            f"{model.name} is not built here, so the function fetches it from S3; after"
            f" `visionstack models build {model.name}` its package can bring it along."
        )
        return
    try:
        artifact = Artifact.load(model / version)
    except ArtifactError as error:
        raise PackagingError(
            error.message, remedy=f"Run `visionstack models build {model.name} --force`."
        ) from error
    inside = sum(entry.bytes for entry in artifact.manifest.files.values()) + SMALL_FILES
    if not what.model_needed and limits.tree_bytes(package) + inside > limits.UNZIPPED_BYTES:
        err.print(
            f"{model.name} ({inside / limits.MB:.1f} MB) does not fit beside the libraries: the"
            " function fetches it from S3."
        )
        return
    place = package / "models" / model.name
    shutil.copytree(artifact.folder, place / version)
    (place / "current").write_text(version + "\n")


def _current(model: Path, *, needed: bool) -> str | None:
    try:
        return (model / "current").read_text().strip()
    except FileNotFoundError:
        if not needed:
            return None
        raise PackagingError(
            f"packaging=model-in-package needs the model {model.name}, which is not built.",
            remedy=f"Run `visionstack models build {model.name}`.",
        ) from None


def _lay_out_instance(what: Recipe, found: list[Path], into: Path) -> None:
    (into / "wheels").mkdir()
    for wheel in found:
        shutil.copyfile(wheel, into / "wheels" / wheel.name)
    (into / "requirements.lock").write_text(wheels.lock(found))
    (into / "target.env").write_text(
        f"TARGET_PYTHON={what.target.python}\nTARGET_ARCH={what.machine}\n"
        f"TARGET_COMPUTE={what.target.variant}\n"
    )
    (into / "bin").mkdir()
    for file in sorted(INSTANCE_FILES.iterdir()):
        if file.suffix == ".sh":
            shutil.copyfile(file, into / "bin" / file.name)
            (into / "bin" / file.name).chmod(0o755)
        elif file.suffix == ".service":
            shutil.copyfile(file, into / file.name)


def _fix_times(folder: Path) -> None:
    for path in [*folder.rglob("*"), folder]:
        os.utime(path, (FIXED_TIME, FIXED_TIME))


def _read(record: Path) -> dict[str, Any]:
    try:
        value = json.loads(record.read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
