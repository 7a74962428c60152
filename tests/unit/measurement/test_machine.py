"""The machine's description."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from runtime.measurement import machine
from runtime.measurement.machine import Machine

CPUINFO = """\
processor\t: 0
model name\t: Test CPU 9000
flags\t\t: fpu avx2 amx_bf16
"""


def fake_proc(folder: Path) -> Path:
    (folder / "cpuinfo").write_text(CPUINFO)
    (folder / "meminfo").write_text("MemTotal:       16777216 kB\n")
    return folder


def test_cpu_memory_and_matrix_instructions_are_read(tmp_path: Path) -> None:
    found = machine.describe(proc=fake_proc(tmp_path))
    assert found.cpu == "Test CPU 9000"
    assert found.memory_gib == pytest.approx(16.0)
    assert found.features == ("avx2", "amx_bf16")
    assert "Test CPU 9000" in found.line


def test_what_cannot_be_read_is_called_unknown(tmp_path: Path) -> None:
    assert "unknown" in machine.describe(proc=tmp_path / "nowhere").cpu


def test_gpus_are_read_from_the_drivers_own_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'NVIDIA L4, 23034, 580.65.06'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    found = machine.describe(proc=fake_proc(tmp_path))
    assert [(card.name, card.memory_mib, card.driver) for card in found.gpus] == [
        ("NVIDIA L4", 23034, "580.65.06")
    ]
    assert "NVIDIA L4" in found.line


def test_a_driver_program_that_fails_means_no_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\nexit 9\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert machine.describe(proc=fake_proc(tmp_path)).gpus == ()


def test_a_description_survives_json(tmp_path: Path) -> None:
    found = machine.describe(proc=fake_proc(tmp_path))
    assert Machine.from_json(found.to_json()) == found


def test_versions_leave_out_what_is_not_installed() -> None:
    found = machine.versions(["numpy", "surely-not-installed"])
    assert set(found) == {"python", "numpy"}
