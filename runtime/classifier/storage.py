"""Where pictures lie: fetched by their `file_path`, kept, and uploaded to by a presigned form."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Final, NamedTuple, Protocol

from runtime.classifier.errors import NotFoundError, TooLargeError, UnavailableError
from runtime.classifier.requests import CONTENT_TYPES
from runtime.classifier.s3 import PresignedPost, S3Client, S3Error, S3NotFoundError, S3TooLargeError
from runtime.contract import (
    MAX_PICTURE_BYTES,
    PICTURES_PREFIX,
    RESULTS_PREFIX,
    TRAINING_METADATA,
    TRAINING_PREFIX,
)

FOLDER_RESULTS_PREFIX: Final = RESULTS_PREFIX + "folders/"


class Told(NamedTuple):
    """What was said of a picture: ids with their softmax, best first, by which model."""

    top: Sequence[tuple[str, float]]
    model: str
    version: str


_MOST_METADATA: Final = 1900
"""Bytes, of the 2 KB that S3 allows for an object's metadata with its names."""


class PictureStore(Protocol):
    """Pictures by `file_path`, and results of whole folders."""

    def fetch(self, file_path: str) -> bytes:
        """The picture. Raises `NotFoundError`, `TooLargeError`, `UnavailableError`."""
        ...

    def keep(self, file_path: str, data: bytes, *, content_type: str) -> None:
        """Write a picture. Raises `UnavailableError`."""
        ...

    def upload(self, file_path: str, *, content_type: str) -> PresignedPost:
        """A form that uploads to this path. Raises `UnavailableError`."""
        ...

    def write_results(self, key: str, lines: bytes) -> None:
        """Write JSON lines below `results/`. Raises `UnavailableError`."""
        ...

    def keep_for_training(self, file_path: str, data: bytes, told: Told) -> None:
        """Keep a picture under its hash with what was said of it. Raises `UnavailableError`."""
        ...


class S3PictureStore:
    """Pictures in their own bucket, results in the artifacts bucket."""

    def __init__(
        self,
        client: S3Client,
        *,
        pictures_bucket: str,
        artifacts_bucket: str,
        upload_expires_seconds: int,
    ) -> None:
        self._client = client
        self._pictures = pictures_bucket
        self._artifacts = artifacts_bucket
        self._expires = upload_expires_seconds

    def fetch(self, file_path: str) -> bytes:
        """One GET; the length is checked before the body is read."""
        key = PICTURES_PREFIX + file_path
        try:
            return self._client.get(self._pictures, key, max_bytes=MAX_PICTURE_BYTES)
        except S3NotFoundError:
            raise NotFoundError(f"there is no picture under file_path {file_path!r}") from None
        except S3TooLargeError as error:
            raise TooLargeError(f"file_path {file_path!r}: {error}") from None
        except S3Error as error:
            raise UnavailableError(f"the picture storage failed: {error}") from error

    def keep(self, file_path: str, data: bytes, *, content_type: str) -> None:
        """One PUT."""
        try:
            self._client.put(
                self._pictures, PICTURES_PREFIX + file_path, data, content_type=content_type
            )
        except S3Error as error:
            raise UnavailableError(f"the picture storage failed: {error}") from error

    def upload(self, file_path: str, *, content_type: str) -> PresignedPost:
        """A policy for exactly this key, type and `MAX_PICTURE_BYTES`; nothing is requested."""
        try:
            return self._client.presign_post(
                self._pictures,
                PICTURES_PREFIX + file_path,
                content_type=content_type,
                max_bytes=MAX_PICTURE_BYTES,
                expires_seconds=self._expires,
            )
        except S3Error as error:
            raise UnavailableError(f"an upload cannot be signed: {error}") from error

    def write_results(self, key: str, lines: bytes) -> None:
        """One PUT to the artifacts bucket."""
        try:
            self._client.put(self._artifacts, key, lines, content_type="application/jsonl")
        except S3Error as error:
            raise UnavailableError(f"the results cannot be written: {error}") from error

    def keep_for_training(self, file_path: str, data: bytes, told: Told) -> None:
        """One PUT, so that a picture never stands there without its prediction."""
        suffix = PurePosixPath(file_path).suffix.lower().lstrip(".")
        types = {one: content_type for content_type, one in CONTENT_TYPES.items()}
        key = f"{TRAINING_PREFIX}{hashlib.sha256(data).hexdigest()}.{suffix or 'bin'}"
        for count in (len(told.top), 1, 0):  # ids may be long
            text = _metadata(told, file_path, count)
            if len(text) <= _MOST_METADATA:
                break
        try:
            self._client.put(
                self._pictures,
                key,
                data,
                content_type=types.get(suffix, "application/octet-stream"),
                metadata={TRAINING_METADATA: text},
            )
        except S3Error as error:
            raise UnavailableError(f"the picture could not be kept: {error}") from error


def _metadata(told: Told, file_path: str, count: int) -> str:
    """JSON in ASCII and without blanks, rows of which a signature would count as one."""
    document = {
        "top": [[one, round(share, 4)] for one, share in told.top[:count]],
        "model": told.model,
        "version": told.version,
        "path": file_path,
    }
    return json.dumps(document, separators=(",", ":")).replace(" ", "\\u0020")


def new_file_path(content_type: str) -> str:
    """`YYYYMMDD/{32 hex digits}.{suffix}`: not guessable, and a day can be listed."""
    suffix = CONTENT_TYPES.get(content_type, "bin")
    return f"{datetime.now(UTC):%Y%m%d}/{os.urandom(16).hex()}.{suffix}"
