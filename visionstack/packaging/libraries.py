"""The libraries of `packaging=s3-packages`: one zip in S3, none in the function."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from runtime import contract
from visionstack import paths
from visionstack.packaging import wheels
from visionstack.packaging.archives import write_archive


def write_library_archive(found: Sequence[Path], package: Path, *, build_root: Path) -> Path:
    """Pack the wheels as a site-packages tree into `build/packages/{sha256}.zip`.

    Writes `packages.json` (`key`, `sha256`, `bytes`) into the function's package; the function
    fetches that key from the artifacts bucket and checks both. `publish_libraries` puts it there.
    """
    folder = build_root / "packages"
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        tree = Path(scratch) / "tree"
        tree.mkdir()
        wheels.unpack(found, tree)
        half = Path(scratch) / "libraries.zip"
        # The function unpacks it at every cold start, and the network inside a region is faster
        # than one Lambda core inflates.
        write_archive(tree, half, deflated=False)
        with half.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        archive = folder / f"{digest}.zip"
        shutil.move(half, archive)
    manifest = {
        "key": f"{contract.PACKAGES_PREFIX}{digest}.zip",
        "sha256": digest,
        "bytes": archive.stat().st_size,
    }
    (package / contract.LIBRARIES_MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")
    return archive


def archive_of(package: Path, *, build_root: Path = paths.BUILD) -> tuple[str, Path] | None:
    """S3 key and file of the libraries that a built package names; None when it names none."""
    manifest = package / contract.LIBRARIES_MANIFEST
    if not manifest.exists():
        return None
    value = json.loads(manifest.read_text())
    return value["key"], build_root / "packages" / f"{value['sha256']}.zip"


def publish_libraries(
    package: Path, *, client: Any, bucket: str, build_root: Path = paths.BUILD
) -> bool:
    """Upload the libraries that a built package names by a boto3 S3 client, unless they are there.

    Their key is their hash, so what is there is right. Returns whether they were uploaded; a
    package that names none needs none. Raises what boto3 raises.
    """
    named = archive_of(package, build_root=build_root)
    if named is None:
        return False
    key, archive = named
    if client.list_objects_v2(Bucket=bucket, Prefix=key).get("KeyCount", 0):
        return False
    client.upload_file(str(archive), bucket, key)
    return True
