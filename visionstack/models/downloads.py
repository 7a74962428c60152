"""Fetching files over HTTP: resumed after a break, checked before they get their name."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx

from visionstack.models.errors import DownloadError

ATTEMPTS: Final = 3
_TIMEOUT: Final = httpx.Timeout(30.0, connect=5.0)
_RANGE_NOT_SATISFIABLE: Final = 416

Say = Callable[[str], None]
"""Told what is going on, a short phrase at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteFile:
    """A file to fetch and what it must be: the beginning of its SHA-256, and its bytes if known."""

    url: str
    name: str
    sha256: str | None = None
    bytes: int | None = None


def fetch(
    remote: RemoteFile,
    *,
    cache: Path,
    say: Say = lambda _: None,
    client: httpx.Client | None = None,
    pause_seconds: float = 1.0,
) -> Path:
    """The file in `cache`, downloaded unless it is there and right.

    A broken download is taken up where it ended, now (three times) or when called again. Raises
    `DownloadError` when the address cannot be reached or gives something else.
    """
    target = cache / remote.name
    if target.exists():
        _check(target, remote)
        return target
    cache.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(target.name + ".partial")
    with client or httpx.Client(timeout=_TIMEOUT, follow_redirects=True) as http:
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
                time.sleep(pause_seconds * attempt)
    try:
        _check(partial, remote)
    except DownloadError:
        partial.unlink()
        raise
    partial.rename(target)
    return target


def _download(http: httpx.Client, remote: RemoteFile, partial: Path, say: Say) -> None:
    have = partial.stat().st_size if partial.exists() else 0
    headers = {"Range": f"bytes={have}-"} if have else {}
    with http.stream("GET", remote.url, headers=headers) as response:
        if response.status_code == _RANGE_NOT_SATISFIABLE:
            return  # All of it is here; the check decides.
        response.raise_for_status()
        resumed = response.status_code == httpx.codes.PARTIAL_CONTENT
        total = int(response.headers.get("Content-Length", 0)) + (have if resumed else 0)
        with partial.open("ab" if resumed else "wb") as file:
            # As it arrives: what a larger buffer holds when the line breaks would be lost.
            for chunk in response.iter_bytes():
                file.write(chunk)
                say(f"fetching {remote.name}: {file.tell() >> 20} of {total >> 20} MB")


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
