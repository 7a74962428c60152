"""The command itself: what it loads before it knows what is wanted, and which version it is."""

from __future__ import annotations

import subprocess
import sys
import tomllib

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
