from __future__ import annotations

import hashlib
import io
import json
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from runtime.classifier.packages import PackagesError, PackagesManifest, install
from runtime.classifier.s3 import S3Error

FILES = {
    "library_of_tests/__init__.py": b"VALUE = 7\n",
    "library_of_tests/data/big.bin": bytes(range(256)) * 400,
    "library_of_tests/empty": b"",
}


class Stream:
    """The one method of S3Client that is used: parts of 1,000 bytes."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.calls = 0

    def stream(self, bucket: str, key: str, *, size: int) -> Iterator[bytes]:
        self.calls += 1
        if key == "packages/gone.zip":
            raise S3Error("not there")
        for start in range(0, size, 1000):
            yield self.content[start : start + 1000]


def pack(files: dict[str, bytes], *, method: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def manifest_of(content: bytes, *, key: str = "packages/x.zip") -> PackagesManifest:
    return PackagesManifest(key, hashlib.sha256(content).hexdigest(), len(content))


@pytest.fixture
def unpack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    monkeypatch.setattr(sys, "path", list(sys.path))

    def run(content: bytes, manifest: PackagesManifest | None = None) -> Path:
        return install(
            Stream(content),  # type: ignore[arg-type]
            bucket="b",
            manifest=manifest or manifest_of(content),
            scratch=tmp_path,
        )

    return run


def test_libraries_are_unpacked_as_they_arrive_and_can_be_imported(
    unpack: Callable[..., Path],
) -> None:
    folder = unpack(pack(FILES))
    assert {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    } == FILES
    import library_of_tests  # type: ignore[import-not-found]

    assert library_of_tests.VALUE == 7
    assert sys.path[0] == str(folder)


def test_what_was_unpacked_before_is_used_again(
    unpack: Callable[..., Path], tmp_path: Path
) -> None:
    content = pack(FILES)
    unpack(content)
    source = Stream(content)
    install(source, bucket="b", manifest=manifest_of(content), scratch=tmp_path)  # type: ignore[arg-type]
    assert source.calls == 0


def test_a_single_changed_byte_refuses_all_of_it(
    unpack: Callable[..., Path], tmp_path: Path
) -> None:
    content = pack(FILES)
    damaged = bytearray(content)
    damaged[content.index(b"VALUE = 7") + 8] = ord("8")
    with pytest.raises(PackagesError, match="another hash"):
        unpack(bytes(damaged), manifest_of(content))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (pack(FILES)[:50_000], "ends too early"),
        (pack(FILES, method=zipfile.ZIP_DEFLATED), "stored files"),
        (pack({"../escape": b"x"}), "path"),
        (pack({"/etc/escape": b"x"}), "path"),
        (b"not a zip at all, but long enough to have a header" * 3, "stored files"),
    ],
)
def test_another_or_a_cut_archive_is_refused_and_nothing_left(
    unpack: Callable[..., Path], tmp_path: Path, content: bytes, reason: str
) -> None:
    with pytest.raises(PackagesError, match=reason):
        unpack(content)
    assert list(tmp_path.iterdir()) == []
    assert not Path("/etc/escape").exists()


def test_a_failing_store_is_told(unpack: Callable[..., Path]) -> None:
    with pytest.raises(PackagesError, match="not there"):
        unpack(b"x", manifest_of(b"x", key="packages/gone.zip"))


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"key": "k", "sha256": "s", "bytes": "many"}'])
def test_a_manifest_that_makes_no_sense_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "packages.json").write_text(text)
    with pytest.raises(PackagesError, match=r"packages\.json"):
        PackagesManifest.read(tmp_path)


def test_a_manifest_is_read(tmp_path: Path) -> None:
    document = {"key": "packages/x.zip", "sha256": "ab", "bytes": 3}
    (tmp_path / "packages.json").write_text(json.dumps(document))
    assert PackagesManifest.read(tmp_path) == PackagesManifest("packages/x.zip", "ab", 3)
