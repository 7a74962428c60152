"""install.sh, start.sh and the unit file, run as the user data runs them."""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from visionstack.packaging.recipes import INSTANCE_FILES

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An unpacked asset without wheels, for this machine."""
    place = tmp_path / "root"
    (place / "bin").mkdir(parents=True)
    (place / "wheels").mkdir()
    for name in ("install.sh", "start.sh"):
        shutil.copy(INSTANCE_FILES / name, place / "bin" / name)
    _target(place)
    (place / "requirements.lock").write_text("")
    (place / "stream.env").write_text("")
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / "python3").symlink_to(Path(sys._base_executable))  # type: ignore[attr-defined]
    return place


def _target(
    root: Path, *, python: str = PYTHON, machine: str = platform.machine(), compute: str = "cpu"
) -> None:
    (root / "target.env").write_text(
        f"TARGET_PYTHON={python}\nTARGET_ARCH={machine}\nTARGET_COMPUTE={compute}\n"
    )


def _run(root: Path, script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", str(root / "bin" / script)],
        env={
            "PATH": f"{root.parent / 'path'}:/usr/bin:/bin",
            "VISIONSTACK_ROOT": str(root),
            **environment,
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_an_asset_for_another_architecture_is_refused(root: Path) -> None:
    _target(root, machine="riscv64")

    done = _run(root, "install.sh")

    assert done.returncode == 1
    assert "this asset is for riscv64" in done.stderr
    assert "instance_type" in done.stderr


def test_a_machine_without_the_python_of_the_wheels_is_told_which_setting_to_change(
    root: Path,
) -> None:
    _target(root, python="3.99")

    done = _run(root, "install.sh")

    assert done.returncode == 1
    assert "no Python 3.99" in done.stderr
    assert "instance_python" in done.stderr


def test_an_installation_that_fails_is_not_taken_for_done(root: Path) -> None:
    done = _run(root, "install.sh")

    assert done.returncode != 0  # there is no pip among the wheels
    assert not (root / "installed").exists()


def test_start_hands_settings_over_as_they_are(root: Path) -> None:
    python = root / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\necho "$VISIONSTACK_MODEL|$TARGETS|$@|$PWD|$VISIONSTACK_ROOT"\n')
    python.chmod(0o755)
    (root / "stream.env").write_text(
        'VISIONSTACK_MODEL=a b,$(touch never)\nTARGETS={"default": 5, "x": "y=z"}\n'
    )

    done = _run(root, "start.sh")

    assert done.stdout.strip() == (
        f'a b,$(touch never)|{{"default": 5, "x": "y=z"}}|-m runtime.streaming|{root}|{root}'
    )
    assert not (root / "never").exists()


@pytest.mark.parametrize("script", ["install.sh", "start.sh"])
def test_scripts_are_sound_bash(script: str) -> None:
    subprocess.run(["bash", "-n", str(INSTANCE_FILES / script)], check=True)


def test_the_unit_runs_as_nobody_in_particular_and_drains_before_it_is_killed() -> None:
    lines = (INSTANCE_FILES / "visionstack-stream.service").read_text().splitlines()

    assert {
        "DynamicUser=yes",
        "ProtectSystem=strict",
        "NoNewPrivileges=yes",
        "CapabilityBoundingSet=",
        "KillSignal=SIGTERM",
        "Restart=always",
        "MemoryMax=90%",
    } <= set(lines)


def test_the_unit_has_the_gpus_devices_made_first_with_rights_that_the_server_lacks() -> None:
    lines = (INSTANCE_FILES / "visionstack-stream.service").read_text().splitlines()
    (before,) = (line for line in lines if line.startswith("ExecStartPre="))
    prefixes, program = before.removeprefix("ExecStartPre=").split("/", 1)
    # systemd.service(5): "+" is with full privileges, "-" goes on when it fails or is not there.
    assert set(prefixes) == {"+", "-"}
    assert program.split() == ["usr/bin/nvidia-modprobe", "-c", "0", "-u"]


def test_an_installation_from_wheels_needs_no_index(root: Path) -> None:
    installer = root / "wheels" / "pip-0-py3-none-any.whl" / "pip"
    installer.mkdir(parents=True)
    (installer / "__main__.py").write_text(
        "import sys\nopen(sys.prefix + '/arguments', 'w').write(' '.join(sys.argv[1:]))\n"
    )

    done = _run(root, "install.sh")

    assert done.returncode == 0, done.stderr
    arguments = (root / "venv" / "arguments").read_text()
    assert "--no-index" in arguments
    assert "--require-hashes" in arguments
    assert (root / "installed").exists()
    pth = next((root / "venv" / "lib").glob("python*/site-packages/visionstack.pth"))
    assert pth.read_text().strip() == str(root)
