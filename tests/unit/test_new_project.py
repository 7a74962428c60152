"""`visionstack init` where its files cannot be written."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import NoReturn

import pytest

from visionstack.errors import VisionstackError
from visionstack.new_project import write_project


def test_a_full_disk_is_told_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(source: Path, target: Path, **_: object) -> NoReturn:
        target.mkdir()
        why = f"[Errno 28] No space left on device: '{target}/a.py'"
        raise shutil.Error([(str(source), str(target), why)])

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "copytree", full)
        with pytest.raises(VisionstackError, match="No space left on device"):
            write_project(tmp_path / "new")
    assert not (tmp_path / "new").exists()
    write_project(tmp_path / "new")
