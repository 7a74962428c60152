"""A demo that is killed leaves nothing running, unless it was to be kept."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from visionstack import paths, processes
from visionstack.cloud.local_state import FOLDER_VARIABLE, MARK_VARIABLE

DEMO = """
import sys, time
from pathlib import Path
from visionstack import processes
from visionstack.cloud.local_state import MARK_VARIABLE
from visionstack.demo import journey
root = Path(sys.argv[1])

def deploy(**settings):
    processes.start_detached(
        [sys.executable, "-c", "import time; time.sleep(300)"],
        environment={MARK_VARIABLE: str(root)}, folder=root, log=root / "part.log",
    )
    print("up", flush=True)
    time.sleep(300)

journey.deploy = deploy
journey.run(root / "out", keep=sys.argv[2] == "keep")
"""


@pytest.mark.parametrize(("how", "left"), [("end", 0), ("keep", 1)])
def test_a_killed_demo_takes_its_embedded_cloud_along(tmp_path: Path, how: str, left: int) -> None:
    def count() -> int:
        return len(processes.marked(MARK_VARIABLE, str(tmp_path)))

    with subprocess.Popen(
        [sys.executable, "-c", DEMO, str(tmp_path), how],
        stdout=subprocess.PIPE,
        cwd=paths.IMPORT_ROOT,
        env={**os.environ, FOLDER_VARIABLE: str(tmp_path)},
        text=True,
    ) as demo:
        assert demo.stdout is not None
        try:
            assert demo.stdout.readline() == "up\n"
            assert count() == 1
            demo.kill()
            deadline = time.monotonic() + (60 if left == 0 else 2)
            while count() != 0 and time.monotonic() < deadline:
                time.sleep(0.2)
            assert count() == left
        finally:
            demo.kill()
            processes.kill(processes.marked(MARK_VARIABLE, str(tmp_path)))
