"""Which version of a published model is current, and how that changes: promote, try on a share of
the traffic, roll back, collect.

`models/{name}/current` is one object: its first line is the version that servers and functions
follow, the second the last change, as JSON, with the canary that is on since then; readers of
before canaries read the first line alone. One conditional write changes both or nothing, whenever a
process is killed, and of two that change at once the second is refused: since changes are numbered,
no two texts have the same ETag. The log's entries, `models/{name}/log/{number}.json`, are copies of
that second line; whoever changes next writes the one that a killed process left out, and
`Versions.log` shows it before.

Deleting and uploading are many writes each, of objects with the same names. A `collect` therefore
puts a mark beside them before it announces what goes, and takes it away after the last deletion;
a `publish` reads the log, then looks for marks (`before_upload`), and its last write is refused
when what it uploaded was announced since. So whatever it made current was not deleted under it: an
announcement that it saw without a mark is over, and one that it did not see is later.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html
"""

from __future__ import annotations

import getpass
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import uuid4

from runtime.contract import MODELS_PREFIX
from runtime.inference.artifact import MANIFEST, Manifest, check_name, read_label
from runtime.inference.errors import InferenceError
from runtime.inference.store import Canary
from visionstack.models.changes import Action, Change, read_change
from visionstack.models.differences import Published, judged_on
from visionstack.models.draft import RECORD
from visionstack.models.errors import ModelError

_MOVES: Final = ("publish", "promote", "rollback")
"""The actions that change the current version."""
KEPT: Final = 3
"""Versions that were current last, the present one among them, which `collect` leaves."""
LONGEST_UPLOAD: Final = timedelta(days=1)
"""Files without a manifest are left by a `publish` that was cut off, or by one that is under way:
`collect` deletes what is older than this. The bucket ends uploads in parts after as long."""
LONGEST_COLLECTION: Final = timedelta(minutes=15)
"""A `collect` that deletes for longer than this stops. A mark that is twice as old is of a killed
one: S3 refuses requests of clocks that are more than 15 minutes off."""
_MARKS: Final = "collecting"
_JUDGED_BY: Final = {
    "top1": "of the same test pictures",
    "ap50_95": "AP50-95 on the same test pictures",
}
"""What a version must not be worse in, and how that is said."""


@dataclass(frozen=True, slots=True)
class _Pointer:
    version: str
    etag: str
    change: Change | None

    @property
    def canary(self) -> Canary | None:
        return self.change.canary if self.change else None


class Versions:
    """A model's versions in a bucket, by a boto3 S3 client. All raise `ModelError`."""

    def __init__(self, client: Any, bucket: str, name: str) -> None:
        self._client = client
        self._bucket = bucket
        self.name = check_name(name)
        self._prefix = f"{MODELS_PREFIX}{self.name}/"

    def current(self) -> str | None:
        """The version that servers and functions follow."""
        pointer = self._pointer()
        return pointer.version if pointer else None

    def canary(self) -> Canary | None:
        """The version that is tried beside it, and its share."""
        pointer = self._pointer()
        return pointer.canary if pointer else None

    def shares(self) -> dict[str, float]:
        """What is served, the current version first, and its share of the traffic."""
        pointer = self._pointer()
        if pointer is None:
            return {}
        if pointer.canary is None:
            return {pointer.version: 1.0}
        tried = pointer.canary
        return {pointer.version: 1 - tried.share, tried.version: tried.share}

    def published(self) -> list[str]:
        """The versions that are whole in the bucket, sorted."""
        tail = f"/{MANIFEST}"
        keys = [key.removeprefix(self._prefix) for key in self._keys(self._prefix)]
        return sorted(key.removesuffix(tail) for key in keys if key.endswith(tail))

    def newer(self) -> list[str]:
        """Versions that are whole and were published after the current one, the newest last; none
        that was current or tried and is no longer, as after a rollback."""
        tail = f"/{MANIFEST}"
        when = {
            key.removeprefix(self._prefix).removesuffix(tail): published
            for key, published in self._objects(self._prefix)
            if key.endswith(tail)
        }
        pointer = self._pointer()
        if pointer is None or pointer.version not in when:
            return []
        later = [one for one in when if when[one] > when[pointer.version]]
        if later:
            log = self.log()
            left = {one.new for one in log} | {one.canary.version for one in log if one.canary}
            left -= {pointer.canary.version} if pointer.canary else set()
            later = [one for one in later if one not in left]
        return sorted(later, key=lambda one: when[one])

    def log(self) -> list[Change]:
        """Every change, oldest first."""
        keys = sorted(self._keys(f"{self._prefix}log/"))
        found = [read_change(self._get(key)) for key in keys]
        pointer = self._pointer()
        if pointer and pointer.change and pointer.change not in found:
            found.append(pointer.change)
        return found

    def describe(self, version: str) -> Published:
        """What the bucket tells of a version that is whole."""
        self._check_published(version)
        folder = f"{self._prefix}{version}/"
        try:
            manifest = Manifest.from_json(self._get(folder + MANIFEST))
            lines = self._get(folder + manifest.labels).decode("utf-8", "replace").splitlines()
        except InferenceError as error:
            raise ModelError(
                f"{self.name} {version} cannot be read: {error.message}",
                remedy=f"See `visionstack models versions {self.name}`.",
            ) from error
        labels = tuple(read_label(number, line) for number, line in enumerate(lines))
        return Published(manifest, labels, self._record(version))

    def before(self) -> str | None:
        """The version that a rollback goes back to."""
        history = self._history()
        return history[-2] if len(history) > 1 else None

    def promote(
        self, version: str, *, anyway: bool = False, action: Action = "promote", since: int = 0
    ) -> Change | None:
        """Make a published version current for all traffic; None when it is already.

        Refuses one that is not whole in the bucket, one that was deleted (by a change after number
        `since`) and, unless `anyway`, one whose accuracy on the same test pictures lies below the
        present one's interval.
        """
        pointer = self._pointer()
        if pointer and pointer.version == version:
            # Published once more, as a deployment does, it leaves a canary alone.
            return None if action == "publish" else self._end_canary(pointer)
        collected = self.collected(version, since=since)
        record = self._judged(pointer, version, collected=collected, anyway=anyway)
        return self._write(pointer, version, action, record=record)

    def try_on(self, version: str, share: float, *, anyway: bool = False) -> Change:
        """Serve a published version to a share of the traffic, beside the current one; one that is
        tried already gets the share. Refuses what `promote` refuses.
        """
        if not 0 < share < 1:
            raise ValueError(f"a share between 0 and 1, not {share}")
        pointer = self._pointer()
        if pointer is None or pointer.version == version:
            raise ModelError(
                f"{self.name} has no current version beside which {version} could be tried."
                if pointer is None
                else f"{self.name} {version} is current: all the traffic is its.",
                remedy=f"See `visionstack models versions {self.name}`.",
            )
        collected = self.collected(version)
        record = self._judged(pointer, version, collected=collected, anyway=anyway)
        canary = Canary(version, share)
        return self._write(pointer, pointer.version, "canary", record=record, canary=canary)

    def end_canary(self) -> Change | None:
        """Give all traffic to the current version again; None when no other is tried."""
        pointer = self._pointer()
        return self._end_canary(pointer) if pointer else None

    def _end_canary(self, pointer: _Pointer) -> Change | None:
        return self._write(pointer, pointer.version, "canary") if pointer.canary else None

    def rollback(self) -> Change:
        """End the canary; without one, go back to the version that was current before, and again
        to the one before that."""
        pointer = self._pointer()
        ended = self._end_canary(pointer) if pointer else None
        if ended:
            return ended
        before = self._history()[:-1]
        if pointer is None or not before:
            raise ModelError(f"{self.name} has no earlier version to go back to.")
        change = self.promote(before[-1], anyway=True, action="rollback")
        if change is None:
            raise ModelError(f"{self.name} is at {before[-1]} already.")
        return change

    def before_upload(self, version: str) -> int:
        """The number of the last change, from which on a deletion would undo an upload.

        Refuses a version that a `collect` may be deleting at this moment.
        """
        since = max((change.number for change in self.log()), default=0)
        late = datetime.now(UTC) - 2 * LONGEST_COLLECTION
        if self.collected(version) and any(when > late for _, when in self._marks()):
            minutes = 2 * LONGEST_COLLECTION // timedelta(minutes=1)
            raise ModelError(
                f"{self.name} {version} is being deleted by `visionstack models gc` just now.",
                remedy=f"Publish it when that has ended; if it was killed, {minutes} minutes after "
                "it began.",
            )
        return since

    def _marks(self) -> list[tuple[str, datetime]]:
        return self._objects(f"{self._prefix}{_MARKS}/")

    def collected(self, version: str, *, since: int = 0) -> bool:
        """Whether it was deleted, or is being deleted now, and not published again since then.

        Changes up to number `since` do not count.
        """
        found = False
        for change in self.log():
            if change.number <= since:
                continue
            if change.back == version or (change.action, change.new) == ("publish", version):
                found = False
            found = found or version in change.gone
        return found

    def uploaded(self, version: str, *, since: int = 0) -> None:
        """A version is whole in the bucket; one that had been deleted may be promoted again.

        Refuses one that was deleted by a change after number `since`.
        """
        pointer = self._pointer()
        self._check_published(version, collected=self.collected(version, since=since))
        if pointer and self.collected(version):
            self._write(pointer, pointer.version, "upload", back=version, canary=pointer.canary)

    def collect(self, *, keep: int = KEPT) -> tuple[str, ...]:
        """Delete the versions that are neither current nor tried nor among the `keep` that were
        current last, nor `newer`: uploaded to be promoted or tried later. Returns them; the log
        keeps their entries.

        What a killed `publish` or `collect` left of a version goes too, after `LONGEST_UPLOAD`.
        """
        pointer = self._pointer()
        if pointer is None:
            raise ModelError(f"{self.name} has no current version.", remedy="Publish it first.")
        kept = {pointer.version}
        spared = {*self.newer(), *([pointer.canary.version] if pointer.canary else [])}
        for version in reversed([pointer.version, *self._order()]):
            if len(kept) < max(1, keep):
                kept.add(version)
        whole = [one for one in self.published() if one not in kept | spared]
        gone = (*whole, *self._left_over())
        if gone:
            with self._mark():
                # Announced first: from here on nobody promotes what is being deleted.
                self._write(pointer, pointer.version, "collect", gone=gone, canary=pointer.canary)
                self._delete_all(gone)
        return gone

    @contextmanager
    def _mark(self) -> Iterator[None]:
        late = datetime.now(UTC) - 2 * LONGEST_COLLECTION
        for key, when in self._marks():
            if when < late:
                self._delete(key)
        key = f"{self._prefix}{_MARKS}/{uuid4().hex}"
        with self._said():
            self._client.put_object(Bucket=self._bucket, Key=key, Body=b"")
        try:
            yield
        finally:
            self._delete(key)

    def _delete_all(self, versions: tuple[str, ...]) -> None:
        until = datetime.now(UTC) + LONGEST_COLLECTION
        for version in versions:
            keys = self._keys(f"{self._prefix}{version}/")
            # The manifest goes first: what has none is no version.
            for key in sorted(keys, key=lambda key: not key.endswith(f"/{MANIFEST}")):
                if datetime.now(UTC) > until:
                    raise ModelError(
                        f"deleting versions of {self.name} took longer than {LONGEST_COLLECTION}.",
                        remedy="Run it again; it goes on with what is left.",
                    )
                self._delete(key)

    def _delete(self, key: str) -> None:
        with self._said():
            self._client.delete_object(Bucket=self._bucket, Key=key)

    def _left_over(self) -> list[str]:
        """Versions without a manifest of which nothing was written lately."""
        written: dict[str, datetime] = {}
        for key, when in self._objects(self._prefix):
            version, slash, _ = key.removeprefix(self._prefix).partition("/")
            if slash and version not in ("log", _MARKS):
                written[version] = max(when, written.get(version, when))
        late = datetime.now(UTC) - LONGEST_UPLOAD
        whole = set(self.published())
        return sorted(one for one, when in written.items() if one not in whole and when < late)

    def _check_published(self, version: str, *, collected: bool = False) -> None:
        if collected or version not in self.published():
            raise ModelError(
                f"{self.name} has no published version {version}"
                f"{', it was deleted' if collected else ''}.",
                remedy=f"See `visionstack models versions {self.name}`, or publish it again.",
            )

    def _order(self) -> list[str]:
        """Versions as they became current, oldest first."""
        return [change.new for change in self.log() if change.action in _MOVES]

    def _history(self) -> list[str]:
        """What a rollback goes back through; its last is the current version."""
        history: list[str] = []
        for change in self.log():
            if change.action == "rollback" and len(history) > 1:
                history.pop()
            elif change.action in _MOVES and history[-1:] != [change.new]:
                if not history and change.old:
                    history.append(change.old)
                history.append(change.new)
        return history

    def _judged(
        self, pointer: _Pointer | None, version: str, *, collected: bool, anyway: bool
    ) -> dict[str, Any]:
        """The version's training record. Refuses one that is not there, and a worse one."""
        self._check_published(version, collected=collected)
        record = self._record(version)
        if pointer and not anyway:
            self._check_not_worse(version, record, pointer.version)
        return record

    def _check_not_worse(self, version: str, record: dict[str, Any], present: str) -> None:
        before = self._record(present)
        if judged_on(record) != judged_on(before):
            return
        for key, words in _JUDGED_BY.items():
            new, old = _figure(record, key), _figure(before, key)
            if new and old and "low" in old and new["share"] < old["low"]:
                raise ModelError(
                    f"{self.name} {version} is worse than the current {present}: "
                    f"{new['share']:.1%} {words} against {old['share']:.1%} "
                    f"(from {old['low']:.1%}).",
                    remedy="Promote it with --anyway if you know better.",
                )

    def _write(
        self,
        pointer: _Pointer | None,
        version: str,
        action: Action,
        *,
        record: dict[str, Any] | None = None,
        gone: tuple[str, ...] = (),
        back: str | None = None,
        canary: Canary | None = None,
    ) -> Change:
        log = self.log()
        if pointer and pointer.change:
            self._log(pointer.change)
        change = Change(
            number=max((one.number for one in log), default=0) + 1,
            action=action,
            old=pointer.version if pointer else None,
            new=version,
            who=_who(),
            when=datetime.now(UTC).isoformat(timespec="milliseconds"),
            top1=_figure(record or {}, "top1"),
            ap50_95=_figure(record or {}, "ap50_95"),
            gone=gone,
            back=back,
            canary=canary,
        )
        condition = {"IfMatch": pointer.etag} if pointer else {"IfNoneMatch": "*"}
        try:
            self._client.put_object(
                Bucket=self._bucket,
                Key=f"{self._prefix}current",
                Body=f"{version}\n{json.dumps(change.to_json())}\n".encode(),
                ContentType="text/plain",
                **condition,
            )
        except Exception as error:
            if _code(error) in ("PreconditionFailed", "ConditionalRequestConflict", "412", "409"):
                raise ModelError(
                    f"{self.name} was changed by somebody else in this moment.",
                    remedy=f"Look at `visionstack models log {self.name}` and try again.",
                ) from error
            raise ModelError(f"{self.name} could not be changed: {error}.") from error
        self._log(change)
        return change

    def _log(self, change: Change) -> None:
        key = f"{self._prefix}log/{change.number:06}.json"
        body = json.dumps(change.to_json(), indent=1).encode()
        with self._said():
            self._client.put_object(
                Bucket=self._bucket, Key=key, Body=body, ContentType="application/json"
            )

    def _pointer(self) -> _Pointer | None:
        with self._said():
            try:
                found = self._client.get_object(Bucket=self._bucket, Key=f"{self._prefix}current")
            except Exception as error:
                if _code(error) in ("NoSuchKey", "404"):
                    return None
                raise
            text = found["Body"].read().decode("utf-8", "replace")
        version, _, told = text.partition("\n")
        change = read_change(told) if told.strip() else None
        return _Pointer(version.strip(), found["ETag"], change)

    def _record(self, version: str) -> dict[str, Any]:
        try:
            value = json.loads(self._get(f"{self._prefix}{version}/{RECORD}"))
        except (ModelError, ValueError):
            return {}
        return value if isinstance(value, dict) else {}

    def _get(self, key: str) -> bytes:
        with self._said():
            data: bytes = self._client.get_object(Bucket=self._bucket, Key=key)["Body"].read()
        return data

    def _keys(self, prefix: str) -> list[str]:
        return [key for key, _ in self._objects(prefix)]

    def _objects(self, prefix: str) -> list[tuple[str, datetime]]:
        """Keys and when they were written."""
        with self._said():
            entries = listed(self._client, self._bucket, prefix)
            return [(entry["Key"], entry["LastModified"]) for entry in entries]

    @contextmanager
    def _said(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # botocore makes its error classes at run time
            raise ModelError(
                f"s3://{self._bucket}/{self._prefix} cannot be used: {error}.",
                remedy="Check the credentials, the bucket and the connection.",
            ) from error


def listed(client: Any, bucket: str, prefix: str) -> Iterator[dict[str, Any]]:
    """The objects below a prefix, page by page, by a boto3 S3 client. Raises what that raises."""
    more: dict[str, str] = {}
    while True:
        page = client.list_objects_v2(Bucket=bucket, Prefix=prefix, **more)
        yield from page.get("Contents", [])
        if not page.get("IsTruncated"):
            return
        more = {"ContinuationToken": page["NextContinuationToken"]}


def _figure(record: dict[str, Any], key: str) -> dict[str, float] | None:
    found = record.get("test", {}).get(key)
    if not found or found.get("share") is None:
        return None
    return {key: float(found[key]) for key in ("share", "low", "high") if key in found}


def _code(error: Exception) -> str:
    response = getattr(error, "response", None) or {}
    return str(response.get("Error", {}).get("Code", ""))


def _who() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "unknown"
