"""The command itself: what it loads before it knows what is wanted, and which version it is."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from visionstack.paths import IMPORT_ROOT

LATER = (
    *("numpy", "cv2", "torch", "boto3", "httpx", "pydantic", "openvino", "locust", "websockets"),
    *("urllib.request", "http.client", "email", "ssl", "asyncio", "zipfile", "importlib.metadata"),
    *(
        "platformdirs",
        "rich.progress",
        "runtime.redaction",
        "runtime.protocol",
        "stacks",
        "visionstack.stream.client",
    ),
)
"""What no command needs that prints its help; each was loaded by it once, or would take long."""


def test_help_loads_nothing_that_only_a_command_needs() -> None:
    program = (
        "import sys; sys.argv = ['visionstack', '--help']\n"
        "from visionstack.cli.main import main\n"
        "try: main()\n"
        f"finally: print('loaded', [m for m in {LATER!r} if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
        cwd=IMPORT_ROOT,
    )
    assert "Usage" in done.stdout
    assert done.stderr.strip() == "loaded []"


def test_the_version_is_the_packages() -> None:
    project = tomllib.loads((IMPORT_ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    done = subprocess.run(
        [sys.executable, "-m", "visionstack.cli", "--version"],
        capture_output=True,
        text=True,
        check=False,
        cwd=IMPORT_ROOT,
    )
    assert done.stdout.strip() == f"visionstack {project['version']}", done.stderr


def _run(*words: str, **more: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "visionstack.cli", *words],
        text=True,
        check=False,
        cwd=IMPORT_ROOT,
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **more},
    )


def test_errors_give_names_as_they_were_typed_and_in_one_line() -> None:
    done = _run("stream", "x", "--connect", "host:abc:" + 100 * "y", "--token", "t")
    assert "host:abc:" + 100 * "y" + ": give host:port" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has /dev/full")
@pytest.mark.parametrize("command", [["models", "list", "--json"], ["models", "list"]])
def test_a_full_disk_is_told_in_a_sentence(command: list[str]) -> None:
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        done = _run(*command, stdout=full)
    assert done.returncode == 1
    assert done.stderr.startswith("error: No space left on device.\n"), done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
