"""S3 in memory, with the conditions of its writes."""

from __future__ import annotations

import hashlib
import io
import os
import threading
from collections.abc import Iterator, MutableMapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote


class ClientError(Exception):
    """Looks like botocore's."""

    def __init__(self, code: str) -> None:
        super().__init__(f"An error occurred ({code})")
        self.response = {"Error": {"Code": code}}


class FolderObjects(MutableMapping[str, bytes]):
    """Objects as files of a folder, whole or not there, that outlive the process."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def _path(self, key: str) -> Path:
        return self._folder / quote(key, safe="")

    def __getitem__(self, key: str) -> bytes:
        try:
            return self._path(key).read_bytes()
        except FileNotFoundError:
            raise KeyError(key) from None

    def __setitem__(self, key: str, value: bytes) -> None:
        aside = self._folder / f".{os.getpid()}.{threading.get_ident()}"
        aside.write_bytes(value)
        aside.replace(self._path(key))

    def __delitem__(self, key: str) -> None:
        try:
            self._path(key).unlink()
        except FileNotFoundError:
            raise KeyError(key) from None

    def __iter__(self) -> Iterator[str]:
        return (unquote(one.name) for one in self._folder.iterdir() if one.name[0] != ".")

    def __len__(self) -> int:
        return sum(1 for _ in self)


class FakeS3:
    """Objects in memory, or where they are told to be; counts what is asked of it."""

    answer_seconds = 0.002
    """How long a download takes, so that some of one process overlap."""

    def __init__(self, objects: MutableMapping[str, bytes] | None = None) -> None:
        self.objects: MutableMapping[str, bytes] = {} if objects is None else objects
        self.written: dict[str, datetime] = {}
        """When an object was written, where that was not just now."""
        self.reads: list[tuple[str, str | None]] = []
        self.failing: str | None = None
        self.under_way = self.most_under_way = 0
        self._lock = threading.Lock()

    def get_object(self, **kwargs: Any) -> dict[str, Any]:
        with self._lock:
            self.reads.append((kwargs["Key"], kwargs.get("Range")))
            self.under_way += 1
            self.most_under_way = max(self.under_way, self.most_under_way)
        try:
            if self.answer_seconds:
                threading.Event().wait(self.answer_seconds)
            if self.failing and self.failing in kwargs["Key"]:
                raise ClientError("InternalError")
            if kwargs["Key"] not in self.objects:
                raise ClientError("NoSuchKey")
            data = self.objects[kwargs["Key"]]
            if span := kwargs.get("Range"):
                first, last = span.removeprefix("bytes=").split("-")
                data = data[int(first) : int(last) + 1]
            return {
                "Body": io.BytesIO(data),
                "ETag": self._etag(kwargs["Key"]),
            }
        finally:
            with self._lock:
                self.under_way -= 1

    def head_object(self, **kwargs: Any) -> dict[str, Any]:
        if kwargs["Key"] not in self.objects:
            raise ClientError("404")
        return {}

    def put_object(self, **kwargs: Any) -> None:
        if self.failing and self.failing in kwargs["Key"]:
            raise ClientError("AccessDenied")
        with self._lock:
            there = kwargs["Key"] in self.objects
            wanted = kwargs.get("IfMatch")
            if wanted and not (there and self._etag(kwargs["Key"]) == wanted):
                raise ClientError("PreconditionFailed")
            if kwargs.get("IfNoneMatch") == "*" and there:
                raise ClientError("PreconditionFailed")
            self.objects[kwargs["Key"]] = kwargs["Body"]

    def _etag(self, key: str) -> str:
        # As S3's: the MD5 of the content, so that equal contents have equal tags.
        return f'"{hashlib.md5(self.objects[key], usedforsecurity=False).hexdigest()}"'

    def list_objects_v2(self, **kwargs: Any) -> dict[str, Any]:
        keys = sorted(key for key in self.objects if key.startswith(kwargs["Prefix"]))
        now = datetime.now(UTC)
        return {
            "Contents": [{"Key": key, "LastModified": self.written.get(key, now)} for key in keys]
        }

    def delete_object(self, **kwargs: Any) -> None:
        self.objects.pop(kwargs["Key"], None)

    def upload_file(self, Filename: str, Bucket: str, Key: str) -> None:  # noqa: N803
        if self.failing and self.failing in Key:
            raise ClientError("AccessDenied")
        self.objects[Key] = Path(Filename).read_bytes()
