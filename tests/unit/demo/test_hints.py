"""What `visionstack demo` proposes can be typed in the shell that ran it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from visionstack.cli.demo import activation


def test_a_shell_that_lacks_the_command_is_told_how_to_find_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bin_ = tmp_path / "it's a clone" / ".venv" / "bin"
    bin_.mkdir(parents=True)
    (bin_ / "activate").write_text(f"PATH={tmp_path}/found:$PATH\n")
    monkeypatch.setattr(sys, "prefix", str(bin_.parent))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    line = activation()
    done = subprocess.run(
        ["/bin/sh", "-c", f"{line.strip()} && echo $PATH"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith(f"{tmp_path}/found:")

    command = bin_ / "visionstack"
    command.touch(0o755)
    monkeypatch.setenv("PATH", f"{bin_}:/usr/bin")
    assert not activation()
