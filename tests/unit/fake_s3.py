"""S3 in memory, with the conditions of its writes."""

from __future__ import annotations

import hashlib
import io
import threading
from pathlib import Path
from typing import Any


class ClientError(Exception):
    """Looks like botocore's."""

    def __init__(self, code: str) -> None:
        super().__init__(f"An error occurred ({code})")
        self.response = {"Error": {"Code": code}}


class FakeS3:
    """Objects in memory; counts what is asked of it."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
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
            threading.Event().wait(0.002)
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
        return {"Contents": [{"Key": key} for key in keys]}

    def delete_object(self, **kwargs: Any) -> None:
        self.objects.pop(kwargs["Key"], None)

    def upload_file(self, Filename: str, Bucket: str, Key: str) -> None:  # noqa: N803
        if self.failing and self.failing in Key:
            raise ClientError("AccessDenied")
        self.objects[Key] = Path(Filename).read_bytes()
