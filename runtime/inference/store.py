"""Models in S3: `models/{name}/{version}/{file}`, immutable, and `models/{name}/current`.

`ModelStore.pull` brings one to a local folder: parts of a file are fetched in parallel and hashed
in order while later parts are under way; the finished folder appears by one rename, so that a
reader never sees half a model, and a damaged one never appears at all.

What only a pull needs is imported there: a function whose model is in its package starts without.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from runtime.contract import MODELS_PREFIX
from runtime.inference.artifact import MANIFEST, Artifact, FileEntry, Manifest, check_name
from runtime.inference.errors import (
    ArtifactDamagedError,
    ArtifactMissingError,
    InferenceError,
    StoreError,
)

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

PART_BYTES: Final = 8 * 1024 * 1024
CONNECTIONS: Final = 8
_ABSENT: Final = ("NoSuchKey", "404", "NotFound")


class ObjectClient(Protocol):
    """The part of a boto3 S3 client that is used here."""

    def get_object(self, **kwargs: Any) -> Any:
        """`Bucket`, `Key` and perhaps `Range`; the answer's `Body` has `read()`."""
        ...


class Canary(NamedTuple):
    """A version that is tried on a share of the traffic, 0 to 1, beside the current one."""

    version: str
    share: float

    def takes(self, key: str) -> bool:
        """Whether what this key stands for (a picture's hash, a stream's number) is in the share.

        The same for ever, and still so when the share grows; another canary has others.
        """
        digest = hashlib.sha256(f"{self.version} {key}".encode()).digest()
        return int.from_bytes(digest[:8], "big") < self.share * 2**64


class Current(NamedTuple):
    """What is to be served."""

    version: str
    canary: Canary | None = None


class ModelStore:
    """Reads published models. Safe to use from several threads, as boto3's clients are."""

    def __init__(self, client: ObjectClient, bucket: str, *, part_bytes: int = PART_BYTES) -> None:
        self._client = client
        self._bucket = bucket
        self._part_bytes = part_bytes

    def current(self, name: str) -> Current:
        """What the object `current` says.

        Raises `ArtifactMissingError` when the model was not published, `StoreError` when S3 fails.
        """
        key = f"{MODELS_PREFIX}{check_name(name)}/current"
        version, _, change = self._read(key).decode("utf-8", "replace").partition("\n")
        version = check_name(version.strip(), what="model version")
        return Current(version, _canary(change))

    def current_version(self, name: str) -> str:
        """The version of most of the traffic. Raises as `current` does."""
        return self.current(name).version

    def pull(self, name: str, into: Path, *, version: str | None = None) -> Artifact:
        """Bring a model to `into/{name}/{version}`; an intact one that is there is kept.

        Raises `ArtifactMissingError`, `ArtifactDamagedError` (nothing is left behind) and
        `StoreError`.
        """
        import shutil
        import tempfile

        version = version or self.current_version(name)
        folder = into / check_name(name) / check_name(version, what="model version")
        with contextlib.suppress(ArtifactMissingError, ArtifactDamagedError):
            return Artifact.load(folder)
        prefix = f"{MODELS_PREFIX}{name}/{version}/"
        document = self._read(prefix + MANIFEST)
        manifest = Manifest.from_json(document)
        if manifest.version != version:
            raise ArtifactDamagedError(
                f"s3://{self._bucket}/{prefix}{MANIFEST} describes version {manifest.version}."
            )
        folder.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{version}.", dir=folder.parent))
        try:
            (partial / MANIFEST).write_bytes(document)
            self._fetch_all(manifest, prefix=prefix, into=partial)
            _put_in_place(partial, folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        return Artifact(folder, manifest)

    def keep_only(self, versions: Collection[str], *, of: str, into: Path) -> None:
        """Delete a model's other versions below `into`, and what pulls that were cut off left.

        They can be pulled again; a process that has one open is not disturbed.
        """
        import shutil

        for folder in (into / check_name(of)).iterdir():
            if folder.is_dir() and folder.name not in versions:
                shutil.rmtree(folder, ignore_errors=True)

    def _fetch_all(self, manifest: Manifest, *, prefix: str, into: Path) -> None:
        from concurrent.futures import ThreadPoolExecutor

        pool = ThreadPoolExecutor(CONNECTIONS, thread_name_prefix="model-pull")
        try:
            for name, entry in manifest.files.items():
                self._fetch(prefix + name, entry, into=into / name, pool=pool)
        finally:
            pool.shutdown(cancel_futures=True)

    def _fetch(self, key: str, entry: FileEntry, *, into: Path, pool: ThreadPoolExecutor) -> None:
        digest = hashlib.sha256()
        size = 0
        with into.open("wb") as file:
            for part in self._parts(key, entry.bytes, pool):
                digest.update(part)
                file.write(part)
                size += len(part)
        if size != entry.bytes or digest.hexdigest() != entry.sha256:
            raise ArtifactDamagedError(
                f"s3://{self._bucket}/{key} is damaged: {size:,} bytes with another hash than "
                f"{MANIFEST} says. Publish the model again."
            )

    def _parts(self, key: str, size: int, pool: ThreadPoolExecutor) -> Iterator[bytes]:
        """The object's parts in order, up to `CONNECTIONS` of them under way."""
        if size <= self._part_bytes:
            yield self._read(key)
            return
        starts = iter(range(0, size, self._part_bytes))
        under_way: list[Future[bytes]] = []
        for start in starts:
            last = min(start + self._part_bytes, size) - 1
            under_way.append(pool.submit(self._read, key, f"bytes={start}-{last}"))
            if len(under_way) == CONNECTIONS:
                yield under_way.pop(0).result()
        for future in under_way:
            yield future.result()

    def _read(self, key: str, span: str | None = None) -> bytes:
        options = {"Range": span} if span else {}
        try:
            answer = self._client.get_object(Bucket=self._bucket, Key=key, **options)
            return bytes(answer["Body"].read())
        except InferenceError:
            raise
        except Exception as error:  # botocore makes its error classes at run time
            raise self._translated(error, key) from error

    def _translated(self, error: Exception, key: str) -> InferenceError:
        response = getattr(error, "response", None) or {}
        code = response.get("Error", {}).get("Code", "") if isinstance(response, dict) else ""
        if code in _ABSENT:
            return ArtifactMissingError(
                f"s3://{self._bucket}/{key} does not exist; publish the model first "
                "(visionstack models publish)."
            )
        return StoreError(f"s3://{self._bucket}/{key} cannot be read: {error}.")


def _canary(change: str) -> Canary | None:
    """The canary that the change names (`visionstack.models.versions`); none if that is unclear."""
    with contextlib.suppress(ValueError, TypeError, KeyError, InferenceError):
        named = json.loads(change)["canary"]
        version, share = named["version"], float(named["share"])
        return Canary(check_name(version, what="model version"), share) if 0 < share < 1 else None
    return None


def _put_in_place(partial: Path, folder: Path) -> None:
    """Rename, replacing a damaged folder; another process's intact one is left to stand."""
    import shutil

    partial.chmod(0o755)
    try:
        partial.rename(folder)
    except OSError:
        with contextlib.suppress(ArtifactMissingError, ArtifactDamagedError):
            Artifact.load(folder)
            return
        doomed = folder.with_name(f".{folder.name}.damaged.{os.getpid()}")
        folder.rename(doomed)
        partial.rename(folder)
        shutil.rmtree(doomed, ignore_errors=True)
