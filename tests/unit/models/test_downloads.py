"""Downloads end with the right file or with none."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from visionstack.models.downloads import RemoteFile, fetch
from visionstack.models.errors import DownloadError

CONTENT = bytes(range(256)) * 20_000


def remote(server: Any, **changes: Any) -> RemoteFile:
    known: dict[str, Any] = {
        "url": server.url,
        "name": "weights.bin",
        "sha256": hashlib.sha256(CONTENT).hexdigest()[:8],
        "bytes": len(CONTENT),
    }
    return RemoteFile(**known | changes)


def test_a_file_is_fetched_once(server: Any, tmp_path: Path) -> None:
    server.content = CONTENT
    said: list[str] = []
    path = fetch(remote(server), cache=tmp_path, say=said.append)
    assert path.read_bytes() == CONTENT
    assert said[-1] == "fetching weights.bin: 4 of 4 MB"
    assert fetch(remote(server), cache=tmp_path) == path
    assert server.ranges == [None]


def test_a_broken_line_is_taken_up_where_it_ended(server: Any, tmp_path: Path) -> None:
    server.content, server.cut = CONTENT, len(CONTENT) // 2 - 7
    path = fetch(remote(server), cache=tmp_path, pause_seconds=0)
    assert path.read_bytes() == CONTENT
    assert server.ranges[0] is None
    assert [int(span.removeprefix("bytes=")[:-1]) for span in server.ranges[1:]] == [
        server.cut,
        2 * server.cut,
    ]


def test_a_later_call_goes_on_too(server: Any, tmp_path: Path) -> None:
    server.content, server.cut = CONTENT, 1_000_000
    with pytest.raises(DownloadError, match="could not be fetched") as caught:
        fetch(remote(server), cache=tmp_path, pause_seconds=0)
    assert "where it stopped" in (caught.value.remedy or "")
    server.cut = None
    assert fetch(remote(server), cache=tmp_path).read_bytes() == CONTENT
    assert server.ranges[-1] == "bytes=3000000-"


def test_a_server_that_fails_for_a_moment_is_asked_again(server: Any, tmp_path: Path) -> None:
    server.content, server.failures = CONTENT, 2
    assert fetch(remote(server), cache=tmp_path, pause_seconds=0).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("changes", "message"), [({"sha256": "00000000"}, "not the file"), ({"bytes": 5}, "5 ")]
)
def test_another_file_is_refused_and_removed(
    server: Any, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    server.content = CONTENT
    with pytest.raises(DownloadError, match=message):
        fetch(remote(server, **changes), cache=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_file_in_the_cache_is_not_used(server: Any, tmp_path: Path) -> None:
    (tmp_path / "weights.bin").write_bytes(CONTENT[:-1])
    with pytest.raises(DownloadError, match="instead of"):
        fetch(remote(server), cache=tmp_path)


def test_an_address_where_nobody_is_fails_at_once(server: Any, tmp_path: Path) -> None:
    server.stop()
    with pytest.raises(DownloadError, match="could not be fetched"):
        fetch(remote(server), cache=tmp_path, pause_seconds=60)
    server.__init__()  # so that the fixture has something to stop
