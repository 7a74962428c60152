"""Fetching files over HTTP: resumed after a break, checked before they get their name.

pooch (1.9) checks and keeps files too, and begins a broken download anew.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from runtime.backoff import full_jitter
from visionstack.models.errors import DownloadError

if TYPE_CHECKING:
    import httpx

ATTEMPTS: Final = 3
_SECONDS, _CONNECT_SECONDS = 30.0, 5.0
_RANGE_NOT_SATISFIABLE: Final = 416

Say = Callable[[str], None]
"""Told what is going on, a short phrase at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteFile:
    """A file to fetch and what it must be: its SHA-256 in hex or the beginning of that, and its
    bytes, as far as they are known."""

    url: str
    name: str
    sha256: str | None = None
    bytes: int | None = None

    def cached(self, cache: Path) -> Path:
        """Its place in `cache`; another address has another, whatever the names."""
        address = hashlib.sha256(self.url.encode()).hexdigest()[:16]
        return cache / f"{address}-{self.name}"


def fetch(
    remote: RemoteFile,
    *,
    cache: Path,
    say: Say = lambda _: None,
    pause_seconds: float = 1.0,
) -> Path:
    """The file in `cache`, downloaded unless it is there and right.

    A broken download is taken up where it ended, now (three times) or when called again. Raises
    `DownloadError` when the address cannot be reached or gives something else.
    """
    import httpx

    target = remote.cached(cache)
    if target.exists():
        _check(target, remote)
        return target
    cache.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(target.name + ".partial")
    timeout = httpx.Timeout(_SECONDS, connect=_CONNECT_SECONDS)
    with httpx.Client(timeout=timeout, follow_redirects=True) as http:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                _download(http, remote, partial, say)
                break
            except httpx.HTTPError as error:
                if attempt == ATTEMPTS or isinstance(error, httpx.ConnectError):
                    raise DownloadError(
                        f"{remote.url} could not be fetched: {error}.",
                        remedy="Check the connection and try again; it goes on where it stopped.",
                    ) from error
                time.sleep(full_jitter(attempt, first=pause_seconds, longest=4 * pause_seconds))
    try:
        _check(partial, remote)
    except DownloadError:
        partial.unlink()
        raise
    finally:
        _validator(partial).unlink(missing_ok=True)
    partial.rename(target)
    return target


def _download(http: httpx.Client, remote: RemoteFile, partial: Path, say: Say) -> None:
    import httpx

    note = _validator(partial)
    known = note.read_text() if note.exists() else ""
    have = partial.stat().st_size if partial.exists() else 0
    if not known and remote.sha256 is None:
        have = 0  # Nothing would tell whether the rest is of the same file.
    headers = {"Range": f"bytes={have}-"} if have else {}
    if have and known:
        headers["If-Range"] = known
    with http.stream("GET", remote.url, headers=headers) as response:
        if response.status_code == _RANGE_NOT_SATISFIABLE:
            return  # All of it is here; the check decides.
        response.raise_for_status()
        resumed = response.status_code == httpx.codes.PARTIAL_CONTENT
        tag = response.headers.get("ETag", "")
        if resumed and known and tag and tag != known:
            # A server that does not know If-Range.
            partial.unlink()
            raise httpx.RemoteProtocolError("the file was replaced meanwhile")
        if not resumed:
            # A weak tag (W/…) allows other bytes.
            note.write_text(tag if tag.startswith('"') else "")
        total = int(response.headers.get("Content-Length", 0)) + (have if resumed else 0)
        with partial.open("ab" if resumed else "wb") as file:
            # As it arrives: what a larger buffer holds when the line breaks would be lost.
            for chunk in response.iter_bytes():
                file.write(chunk)
                say(f"fetching {remote.name}: {file.tell() >> 20} of {total >> 20} MB")
                if remote.bytes is not None and file.tell() > remote.bytes:
                    return  # It may never end; the check refuses it.


def _validator(partial: Path) -> Path:
    """Where the ETag of what `partial` is the beginning of is noted."""
    return partial.with_name(partial.name + ".etag")


def _check(path: Path, remote: RemoteFile) -> None:
    size = path.stat().st_size
    if remote.bytes is not None and size != remote.bytes:
        raise DownloadError(
            f"{remote.name} has {size:,} bytes instead of {remote.bytes:,} (from {remote.url}).",
            remedy=f"Delete {path} if it exists and try again, or give the file by --weights.",
        )
    if remote.sha256 is None:
        return
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if not digest.startswith(remote.sha256):
        raise DownloadError(
            f"{remote.name} is not the file that was asked for: SHA-256 {digest[:16]}… instead of "
            f"{remote.sha256[:16]}… (from {remote.url}).",
            remedy=f"Delete {path} if it exists and try again, or give the file by --weights.",
        )
