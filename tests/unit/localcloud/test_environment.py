"""The embedded cloud's environment is installed once, however many ask for it."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from visionstack.localcloud import environment


def test_two_that_want_it_at_once_install_it_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "venv"
    ran: list[str] = []

    def run(command: list[str]) -> None:
        ran.append(command[2])
        time.sleep(0.2)  # long enough for the other one to look
        (folder / "bin").mkdir(parents=True, exist_ok=True)
        (folder / "bin" / "python").touch()

    monkeypatch.setattr(environment, "_run", run)
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(environment.ensure, [folder, folder]))
    assert found == [folder / "bin" / "python"] * 2
    assert ran == ["venv", "pip"]
