"""A killed owner takes its embedded cloud along."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from visionstack import paths, processes
from visionstack.cloud.local_state import MARK_VARIABLE

# As the embedded cloud starts its parts: detached, each with a child in a session of its own.
OWNER = """
import sys, time
from pathlib import Path
from visionstack import processes
from visionstack.cloud.local_state import MARK_VARIABLE, CloudFolder
from visionstack.localcloud.orphans import ended_with_this_process
root = Path(sys.argv[1])
part = "import subprocess, sys, time\\nsubprocess.Popen([sys.executable, '-c', 'import time; time.sleep(300)'], start_new_session=True)\\ntime.sleep(300)"
with ended_with_this_process(CloudFolder(root)):
    for number in range(2):
        processes.start_detached(
            [sys.executable, "-c", part], environment={MARK_VARIABLE: str(root)},
            folder=root, log=root / f"{number}.log",
        )
    print("up", flush=True)
    sys.stdin.readline()
"""  # noqa: E501


def _count(root: Path, *, wanted: int, seconds: float) -> int:
    deadline = time.monotonic() + seconds
    while True:
        found = len(processes.marked(MARK_VARIABLE, str(root)))
        if found == wanted or time.monotonic() > deadline:
            return found
        time.sleep(0.2)


@pytest.mark.parametrize("killed", [True, False], ids=["killed", "leaves"])
def test_what_an_owner_started_ends_with_it_when_it_is_killed(tmp_path: Path, killed: bool) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, str(tmp_path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=paths.IMPORT_ROOT, text=True,
    ) as owner:  # fmt: skip
        assert owner.stdout is not None
        try:
            assert owner.stdout.readline() == "up\n"
            assert _count(tmp_path, wanted=4, seconds=30) == 4
            if killed:
                os.kill(owner.pid, signal.SIGKILL)
                assert _count(tmp_path, wanted=0, seconds=60) == 0
            else:
                owner.communicate("\n", timeout=60)
                assert _count(tmp_path, wanted=0, seconds=2) == 4
        finally:
            owner.kill()
            processes.kill(processes.marked(MARK_VARIABLE, str(tmp_path)))
