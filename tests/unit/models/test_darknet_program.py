"""Darknet's own program is run at the size asked for, and ended once it has printed its time."""

from __future__ import annotations

import os
import sys
import textwrap
import time
from pathlib import Path

import pytest

from visionstack.models.darknet_program import DarknetProgram, DarknetProgramError


def program(folder: Path, body: str) -> DarknetProgram:
    """The program is a Python script that stands in for darknet."""
    script = folder / "darknet.py"
    script.write_text("import os, sys, time\n" + textwrap.dedent(body))
    weights = folder / "given.weights"
    weights.touch()
    return DarknetProgram(
        "yolov3",
        folder=folder / "work",
        cache=folder,
        size=320,
        weights=weights,
        program=[sys.executable, "-u", str(script)],
    )


def test_the_time_is_the_one_that_the_program_prints(tmp_path: Path) -> None:
    darknet = program(tmp_path, 'print("dog.jpg: Predicted in 1.250000 seconds.")')
    assert darknet.seconds(tmp_path / "dog.jpg") == 1.25


def test_the_network_is_written_at_the_size_asked_for(tmp_path: Path) -> None:
    darknet = program(
        tmp_path,
        """
        lines = open(sys.argv[4]).read().splitlines()
        assert "width=320" in lines and "height=320" in lines and "width=608" not in lines
        names = [line for line in open(sys.argv[3]) if line.startswith("names=")][0].strip()[6:]
        assert len(open(names).read().splitlines()) == 80
        print("Predicted in 2 seconds")
        """,
    )
    assert darknet.seconds(tmp_path / "dog.jpg") == 2


def test_a_program_that_waits_for_a_key_is_ended_with_its_children(tmp_path: Path) -> None:
    darknet = program(
        tmp_path,
        """
        open("pid", "w").write(str(os.getpid()))
        print("Predicted in 3 seconds")
        time.sleep(600)
        """,
    )
    assert darknet.seconds(tmp_path / "dog.jpg") == 3
    pid = int((tmp_path / "work" / "pid").read_text())
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_program_that_prints_no_time_is_an_error(tmp_path: Path) -> None:
    darknet = program(tmp_path, 'print("Couldn\'t open file")')
    with pytest.raises(DarknetProgramError, match=r"no time for .*dog\.jpg"):
        darknet.seconds(tmp_path / "dog.jpg")


def test_a_program_that_hangs_is_ended(tmp_path: Path) -> None:
    darknet = program(tmp_path, "time.sleep(600)")
    began = time.monotonic()
    with pytest.raises(DarknetProgramError, match="printed no time"):
        darknet.seconds(tmp_path / "dog.jpg", patience=0.5)
    assert time.monotonic() - began < 300


def test_a_network_that_darknet_does_not_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DarknetProgramError, match="no network yolov3u"):
        DarknetProgram("yolov3u", folder=tmp_path, cache=tmp_path)
