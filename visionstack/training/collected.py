"""Pictures that the deployed classifier kept for training, with what it said of them.

With `keep_for_training_days` the function writes every picture that it classified once more, under
its hash, the prediction beside it as the object's metadata. Here they are fetched, what the network
was least sure of first, into a folder a product: correct it by moving files, then train on it.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any, Final

from runtime.contract import PICTURES_PREFIX, TRAINING_METADATA, TRAINING_PREFIX
from visionstack.errors import VisionstackError
from visionstack.files import replace_file
from visionstack.models.versions import listed

TABLE: Final = "predictions.csv"
_COLUMNS: Final = (
    "file",
    "sha256",
    "id",
    "softmax",
    "second",
    "margin",
    "model",
    "version",
    "when",
)
_HASH: Final = re.compile(r"[0-9a-f]{64}")
_FOLDER: Final = re.compile(r"[^./\\\0][^/\\\0]{0,99}")
_AT_ONCE: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """A picture in the bucket. `top` is ids with their softmax, best first."""

    key: str
    sha256: str
    when: datetime
    top: tuple[tuple[str, float], ...]
    model: str
    version: str
    path: str
    """Where it was uploaded to first, below `pictures/`."""

    @property
    def margin(self) -> float:
        """By how much the best product was likelier than the second: small is doubtful."""
        first, second = [*(share for _, share in self.top), 0.0, 0.0][:2]
        return first - second

    @property
    def folder(self) -> str:
        """Of the product that the network took it for."""
        name = self.top[0][0] if self.top else ""
        return name if _FOLDER.fullmatch(name) else "unsorted"


def collected(client: Any, bucket: str) -> list[Collected]:
    """All that is kept, the most doubtful first. Raises `VisionstackError`."""

    def look(entry: dict[str, Any]) -> Collected | None:
        with_metadata = client.head_object(Bucket=bucket, Key=entry["Key"])
        return _collected(entry["Key"], entry["LastModified"], with_metadata.get("Metadata", {}))

    with _sentences(bucket), ThreadPoolExecutor(_AT_ONCE) as pool:
        found = pool.map(look, listed(client, bucket, TRAINING_PREFIX))
        known = [one for one in found if one is not None]
    return sorted(known, key=lambda one: (one.margin, one.sha256))


def pull(
    client: Any,
    bucket: str,
    into: Path,
    *,
    limit: int | None = None,
    say: Callable[[str], object] = lambda _: None,
) -> list[Collected]:
    """Fetch up to `limit` pictures that are not below `into` yet, wherever they were moved there.

    Raises `VisionstackError`, also for a picture whose bytes are not those that were kept.
    """
    there = {path.stem for path in into.rglob("*") if _HASH.fullmatch(path.stem)}
    wanted = [one for one in collected(client, bucket) if one.sha256 not in there][:limit]
    for number, one in enumerate(wanted, start=1):
        say(f"{number} of {len(wanted)}")
        with _sentences(bucket):
            data: bytes = client.get_object(Bucket=bucket, Key=one.key)["Body"].read()
        if hashlib.sha256(data).hexdigest() != one.sha256:
            raise VisionstackError(
                f"s3://{bucket}/{one.key} is not the picture that was kept: its hash differs.",
                remedy=f"Delete it: visionstack data delete {one.sha256}",
            )
        replace_file(
            into / _file(one),
            data,
            remedy="Free some space or name another folder; what is there already is kept.",
        )
    if wanted:
        _tell(into / TABLE, wanted)
    return wanted


def delete(client: Any, bucket: str, hashes: Sequence[str]) -> list[str]:
    """Delete pictures by the SHA-256 of their bytes; returns the keys that went.

    The upload that a picture was first kept from goes too; others of the same picture expire by
    `picture_expiry_days`. Raises `VisionstackError` before anything is deleted for what is no hash.
    """
    for one in hashes:
        if not _HASH.fullmatch(one):
            raise VisionstackError(
                f"{one!r} is no SHA-256: that has 64 digits from 0 to f.",
                remedy=f"`sha256sum FILE` prints it, and so does {TABLE}.",
            )
    gone: list[str] = []
    with _sentences(bucket):
        for one in hashes:
            for entry in list(listed(client, bucket, f"{TRAINING_PREFIX}{one}")):
                told = client.head_object(Bucket=bucket, Key=entry["Key"]).get("Metadata", {})
                known = _collected(entry["Key"], entry["LastModified"], told)
                keys = [entry["Key"]]
                if known is not None and known.path:
                    keys.insert(0, PICTURES_PREFIX + known.path)
                for key in keys:
                    client.delete_object(Bucket=bucket, Key=key)
                gone += keys
    return gone


def _collected(key: str, when: datetime, metadata: dict[str, str]) -> Collected | None:
    """None for what this deployment's function did not write."""
    name = PurePosixPath(key).stem
    if not _HASH.fullmatch(name):
        return None
    try:
        told = json.loads(metadata.get(TRAINING_METADATA, "{}"))
        return Collected(
            key=key,
            sha256=name,
            when=when,
            top=tuple((str(one), float(share)) for one, share in told.get("top", ())),
            model=str(told.get("model", "")),
            version=str(told.get("version", "")),
            path=str(told.get("path", "")),
        )
    except (ValueError, TypeError, AttributeError):
        return None


def _file(one: Collected) -> str:
    return f"{one.folder}/{PurePosixPath(one.key).name}"


def _tell(table: Path, added: list[Collected]) -> None:
    """Add rows to the table of predictions, which stay what they were when files are moved."""
    text = io.StringIO(table.read_text("utf-8") if table.is_file() else "")
    text.seek(0, io.SEEK_END)
    rows = csv.writer(text, lineterminator="\n")
    if text.tell() == 0:
        rows.writerow(_COLUMNS)
    for one in added:
        best, second = [*one.top, ("", 0.0), ("", 0.0)][:2]
        rows.writerow(
            [_file(one), one.sha256, best[0], f"{best[1]:.4f}", second[0], f"{one.margin:.4f}",
             one.model, one.version, one.when.isoformat(timespec="seconds")]
        )  # fmt: skip
    replace_file(table, text.getvalue())


@contextmanager
def _sentences(bucket: str) -> Iterator[None]:
    try:
        yield
    except VisionstackError:
        raise
    except Exception as error:  # botocore makes its error classes at run time
        raise VisionstackError(
            f"s3://{bucket}/{TRAINING_PREFIX} cannot be used: {error}.",
            remedy="Check the credentials, the bucket and the connection.",
        ) from error
