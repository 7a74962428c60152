from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from visionstack.errors import VisionstackError
from visionstack.localcloud.cpu_share import CpuShare, environments_of


def first_version(root: Path) -> Path:
    """A tree like that of control groups version 1; returns where the group will be."""
    (root / "cpu").mkdir()
    (root / "cpu" / "cpu.cfs_quota_us").write_text("-1")
    return root / "cpu" / "group"


def second_version(root: Path) -> Path:
    (root / "cgroup.controllers").write_text("cpu memory")
    return root / "group"


def test_a_memory_size_becomes_its_quota_in_the_first_version(tmp_path: Path) -> None:
    group = first_version(tmp_path)
    with CpuShare("group", root=tmp_path, remove=shutil.rmtree) as share:
        share.give(3538, to=[])
        assert (group / "cpu.cfs_quota_us").read_text() == "40000"
        assert (group / "cpu.cfs_period_us").read_text() == "20000"
        share.give(512, to=[])
        assert (group / "cpu.cfs_quota_us").read_text() == "5789"
        (group / "cgroup.procs").write_text("")
    assert not group.exists()


def test_a_memory_size_becomes_its_quota_in_the_second_version(tmp_path: Path) -> None:
    group = second_version(tmp_path)
    with CpuShare("group", root=tmp_path, remove=shutil.rmtree) as share:
        share.give(1769, to=[41])
        assert (tmp_path / "cgroup.subtree_control").read_text() == "+cpu"
        assert (group / "cpu.max").read_text() == "20000 20000"
        assert share.members() == {41}
    assert (tmp_path / "cgroup.procs").read_text() == "41"
    assert not group.exists()


def test_a_machine_without_control_groups_is_told_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(VisionstackError, match="cannot be used here") as caught:
        CpuShare("group", root=tmp_path / "none")
    assert caught.value.remedy is not None
    assert "--cloud aws" in caught.value.remedy


def test_environments_are_found_by_their_function_and_their_emulator() -> None:
    def start(function: str, port: str) -> subprocess.Popen[bytes]:
        variables = {"AWS_LAMBDA_FUNCTION_NAME": function, "GATEWAY_PORT": port}
        return subprocess.Popen(
            [sys.executable, "-c", "print(flush=True); input()"],
            env={**os.environ, **variables},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    started = [start("mine", "4"), start("mine", "5"), start("other", "4")]
    try:
        for process in started:
            assert process.stdout is not None
            process.stdout.readline()
        assert environments_of("mine", port=4) == {started[0].pid}
    finally:
        for process in started:
            process.communicate(b"\n")
