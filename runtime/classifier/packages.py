"""`s3-packages`: the libraries themselves come from S3 into /tmp, as in the paper.

The function's package then holds `packages.json` beside `runtime/`, which names one zip in the
artifacts bucket (a site-packages tree, its files stored, not deflated) with its hash. With torch
in it, it has about 1 GB, so it is unpacked while it arrives and is never held as a whole.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from runtime.classifier.s3 import S3Client, S3Error
from runtime.contract import LIBRARIES_MANIFEST

_LOCAL_HEADER: Final = struct.Struct("<4s5H3L2H")
"""4.3.7 of https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT"""
_LOCAL_SIGNATURE: Final = b"PK\x03\x04"
_CENTRAL_SIGNATURE: Final = b"PK\x01\x02"
_NO_SIZES: Final = 1 << 3


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
            document = json.loads((folder / LIBRARIES_MANIFEST).read_text("utf-8"))
            return cls(str(document["key"]), str(document["sha256"]), int(document["bytes"]))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise PackagesError(f"{folder / LIBRARIES_MANIFEST} cannot be used: {error}") from error


def install(client: S3Client, *, bucket: str, manifest: PackagesManifest, scratch: Path) -> Path:
    """Fetch, unpack and check the libraries, and put them first on `sys.path`.

    Nothing of them can be imported before the hash of all was found right. What an earlier attempt
    in this environment unpacked is used again.

    Raises:
        PackagesError: S3 failed, the hash differs, or the zip is damaged or does not fit.
    """
    folder = scratch / f"packages-{manifest.sha256[:16]}"
    if not folder.is_dir():
        partial = folder.with_suffix(".partial")
        shutil.rmtree(partial, ignore_errors=True)
        try:
            stream = _Hashed(client.stream(bucket, manifest.key, size=manifest.bytes))
            _unpack(stream, partial)
            if stream.hexdigest() != manifest.sha256:
                raise PackagesError(f"s3://{bucket}/{manifest.key} is damaged: another hash")
            partial.rename(folder)
        except S3Error as error:
            raise PackagesError(f"the libraries cannot be fetched: {error}") from error
        except OSError as error:
            raise PackagesError(f"the libraries cannot be unpacked: {error}") from error
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    return folder


class _Hashed:
    """Reads across the parts of a stream and hashes all that passes."""

    def __init__(self, parts: Iterator[bytes]) -> None:
        self._parts = parts
        self._part = memoryview(b"")
        self._digest = hashlib.sha256()

    def pieces(self, count: int) -> Iterator[memoryview]:
        """The next `count` bytes, uncopied. Raises `PackagesError` at the end of the stream."""
        while count:
            if not self._part:
                self._next()
            piece, self._part = self._part[:count], self._part[count:]
            count -= len(piece)
            yield piece

    def read(self, count: int) -> bytes:
        """The next `count` bytes."""
        return b"".join(self.pieces(count))

    def hexdigest(self) -> str:
        """Of the whole stream: what was not read yet is read."""
        for part in self._parts:
            self._digest.update(part)
        return self._digest.hexdigest()

    def _next(self) -> None:
        part = next(self._parts, None)
        if part is None:
            raise PackagesError("the libraries' zip ends too early")
        self._digest.update(part)
        self._part = memoryview(part)


def _unpack(stream: _Hashed, into: Path) -> None:
    folders: set[Path] = set()
    while True:
        signature = stream.read(4)
        if signature == _CENTRAL_SIGNATURE:
            return
        header = _LOCAL_HEADER.unpack(signature + stream.read(_LOCAL_HEADER.size - 4))
        flags, method, stored, size, name_bytes, extra_bytes = (
            header[2], header[3], header[7], header[8], header[9], header[10],
        )  # fmt: skip
        if signature != _LOCAL_SIGNATURE or method or flags & _NO_SIZES or stored != size:
            raise PackagesError("the libraries' zip is not one of stored files with sizes")
        name = PurePosixPath(stream.read(name_bytes).decode("utf-8"))
        stream.read(extra_bytes)
        if name.is_absolute() or ".." in name.parts:
            raise PackagesError(f"the libraries' zip holds the path {name}")
        place = into / name
        if place.parent not in folders:
            place.parent.mkdir(parents=True, exist_ok=True)
            folders.add(place.parent)
        with os.fdopen(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644), "wb") as file:
            for piece in stream.pieces(size):
                file.write(piece)
