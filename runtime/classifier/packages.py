"""`s3-packages`: the libraries themselves come from S3 into /tmp, as in the paper.

The function's package then holds `packages.json` beside `runtime/`, which names one zip in the
artifacts bucket (a site-packages tree) with its hash.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from runtime.classifier.s3 import S3Client, S3Error

MANIFEST: Final = "packages.json"


class PackagesError(Exception):
    """The libraries cannot be fetched, or are not the ones that the package was built with."""


@dataclass(frozen=True)
class PackagesManifest:
    """Which zip holds the libraries: its key in the artifacts bucket, hex SHA-256 and size."""

    key: str
    sha256: str
    bytes: int

    @classmethod
    def read(cls, folder: Path) -> PackagesManifest:
        """Raises `PackagesError`."""
        try:
            document = json.loads((folder / MANIFEST).read_text("utf-8"))
            return cls(str(document["key"]), str(document["sha256"]), int(document["bytes"]))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise PackagesError(f"{folder / MANIFEST} cannot be used: {error}") from error


def install(client: S3Client, *, bucket: str, manifest: PackagesManifest, scratch: Path) -> Path:
    """Fetch, check and unpack the libraries, and put them first on `sys.path`.

    What an earlier attempt in this environment unpacked is used again.

    Raises:
        PackagesError: S3 failed, the hash differs, or the zip is damaged.
    """
    folder = scratch / f"packages-{manifest.sha256[:16]}"
    if not folder.is_dir():
        try:
            content = client.get_large(bucket, manifest.key, size=manifest.bytes)
        except S3Error as error:
            raise PackagesError(f"the libraries cannot be fetched: {error}") from error
        if hashlib.sha256(content).hexdigest() != manifest.sha256:
            raise PackagesError(f"s3://{bucket}/{manifest.key} is damaged: it has another hash")
        partial = folder.with_suffix(".partial")
        shutil.rmtree(partial, ignore_errors=True)
        try:
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                archive.extractall(partial)
        except (zipfile.BadZipFile, OSError) as error:
            raise PackagesError(f"the libraries cannot be unpacked: {error}") from error
        partial.rename(folder)
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    return folder
