"""Downloads end with the right file or with none."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
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


def test_a_file_that_does_not_end_is_given_up_where_it_should_have_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        while sent < 200 << 20:
            sent += 1 << 20
            yield bytes(1 << 20)

    answer = httpx.MockTransport(lambda _: httpx.Response(200, content=endless()))
    client = httpx.Client(transport=answer)
    monkeypatch.setattr(httpx, "Client", lambda **_: client)
    wanted = RemoteFile(url="https://weights.example/w", name="w", bytes=5 << 20)
    with pytest.raises(DownloadError, match="instead of 5,242,880"):
        fetch(wanted, cache=tmp_path)
    assert sent <= 10 << 20
    assert list(tmp_path.iterdir()) == []


def test_two_addresses_with_one_base_name_do_not_meet(server: Any, tmp_path: Path) -> None:
    server.content = CONTENT
    first = fetch(remote(server, url=f"{server.url}/one"), cache=tmp_path)
    server.content = CONTENT[::-1]
    changes = {"url": f"{server.url}/other", "sha256": None}
    second = fetch(remote(server, **changes), cache=tmp_path)
    assert first.read_bytes() == CONTENT
    assert second.read_bytes() == CONTENT[::-1]


def broken_off(server: Any, folder: Path, **changes: Any) -> None:
    """A first attempt that ends after a million bytes."""
    server.content, server.cut, server.failures = CONTENT, 1_000_000, 0
    with pytest.raises(DownloadError):
        fetch(remote(server, **changes), cache=folder, pause_seconds=0)
    server.cut = None
    server.ranges.clear()


def test_what_another_address_left_is_not_continued(server: Any, tmp_path: Path) -> None:
    broken_off(server, tmp_path, url=f"{server.url}/one")
    fetch(remote(server, url=f"{server.url}/other"), cache=tmp_path)
    assert server.ranges == [None]


@pytest.mark.parametrize("heeds_if_range", [True, False])
def test_a_file_that_was_replaced_meanwhile_is_fetched_from_its_beginning(
    server: Any, tmp_path: Path, heeds_if_range: bool
) -> None:
    server.etag, server.heeds_if_range = '"one"', heeds_if_range
    broken_off(server, tmp_path, sha256=None)
    server.content, server.etag = CONTENT[::-1], '"two"'
    path = fetch(remote(server, sha256=None), cache=tmp_path, pause_seconds=0)
    assert path.read_bytes() == CONTENT[::-1]
    assert [one.name for one in tmp_path.iterdir()] == [path.name]


def test_a_file_that_is_still_the_same_is_continued(server: Any, tmp_path: Path) -> None:
    server.etag = '"one"'
    broken_off(server, tmp_path, sha256=None)
    path = fetch(remote(server, sha256=None), cache=tmp_path)
    assert path.read_bytes() == CONTENT
    assert server.ranges == ["bytes=3000000-"]


def test_without_anything_to_tell_it_by_a_broken_download_begins_anew(
    server: Any, tmp_path: Path
) -> None:
    broken_off(server, tmp_path, sha256=None)
    assert fetch(remote(server, sha256=None), cache=tmp_path).read_bytes() == CONTENT
    assert server.ranges == [None]


def test_a_damaged_file_in_the_cache_is_not_used(server: Any, tmp_path: Path) -> None:
    server.content = CONTENT
    fetch(remote(server), cache=tmp_path).write_bytes(CONTENT[:-1])
    with pytest.raises(DownloadError, match="instead of"):
        fetch(remote(server), cache=tmp_path)


def test_an_address_where_nobody_is_fails_at_once(server: Any, tmp_path: Path) -> None:
    server.stop()
    with pytest.raises(DownloadError, match="could not be fetched"):
        fetch(remote(server), cache=tmp_path, pause_seconds=60)
    server.__init__()  # so that the fixture has something to stop
