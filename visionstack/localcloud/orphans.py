"""An embedded cloud that ends with the process that wanted it, however that process ends.

A program of its own waits at a pipe whose other end the owner holds: the kernel closes that end
when the owner dies, by SIGKILL too, on Linux and macOS. It then ends all that carries the mark.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from visionstack import paths, processes
from visionstack.cloud import local_state
from visionstack.cloud.local_state import CloudFolder

_RELEASED: Final = b"released"
_PATIENCE_S: Final = 30.0
"""How long what is being started meanwhile is looked for."""


@contextmanager
def ended_with_this_process(folder: CloudFolder) -> Iterator[None]:
    """Inside, emulator, agent, instances and function workers of `folder` end with this process.

    Who leaves normally stops the cloud itself (`lifecycle.down`), or leaves it up on purpose.
    """
    with subprocess.Popen(
        [sys.executable, "-m", "visionstack.localcloud.orphans", str(folder.root)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=paths.IMPORT_ROOT,
        # What is sent to the owner's group must not end the watcher too.
        start_new_session=True,
    ) as watcher:
        assert watcher.stdin is not None  # noqa: S101  it is PIPE
        try:
            yield
        finally:
            with suppress(BrokenPipeError):
                watcher.stdin.write(_RELEASED)
                watcher.stdin.close()


def end_all(mark: str) -> None:
    """SIGKILL to every process of the cloud in folder `mark`, until two looks find none."""
    deadline = time.monotonic() + _PATIENCE_S
    quiet = 0
    while quiet < 2 and time.monotonic() < deadline:
        left = processes.marked(local_state.MARK_VARIABLE, mark)
        processes.kill(left)
        quiet = 0 if left else quiet + 1
        time.sleep(0.2)


if __name__ == "__main__":
    if sys.stdin.buffer.read() != _RELEASED:
        end_all(sys.argv[1])
