"""A machine of its own, as far as namespaces make one: this machine's root below a layer that is
written to, systemd as its first process, restarted when it asks to be.

The network is this machine's, since the embedded cloud listens on its loopback; the kernel too.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

import psutil

SYSTEMD = Path("/lib/systemd/systemd")
PATIENCE_S = 60

_POWER = r"""
set -euo pipefail
mount --make-rprivate /
mkdir -p "$FOLDER/root" "$FOLDER/layer"
# A layer cannot lie on another overlay, which a container's own root may be.
mount -t tmpfs tmpfs "$FOLDER/layer"
mkdir "$FOLDER/layer/written" "$FOLDER/layer/work"
mount -t overlay overlay "$FOLDER/root" \
  -o "lowerdir=/,upperdir=$FOLDER/layer/written,workdir=$FOLDER/layer/work"
cd "$FOLDER/root"
# What this machine starts by itself is no business of the other one: they share a network.
rm -rf etc/systemd/system/* etc/init.d/* etc/rc?.d etc/fstab
rm -f usr/bin/python3 usr/bin/python3.*
# It empties /tmp when a machine starts; this machine's checkout may lie there.
rm -f usr/lib/tmpfiles.d/tmp.conf
mkdir -p opt/image
mount --rbind "$PYTHON" opt/image
cp -r "$FOLDER/bin/." usr/local/bin/
while [ ! -e "$FOLDER/off" ]; do
  echo $$ >"$CONTROL_GROUP/cgroup.procs"
  unshare --mount --pid --ipc --uts --cgroup --fork --kill-child bash -euo pipefail -c '
    mount -t proc proc proc
    # Read-only: the kernel, whose variables and devices systemd would set, is this machine as well.
    mount --bind proc/sys proc/sys
    mount -o remount,ro,bind proc/sys
    mount -t sysfs -o ro sysfs sys
    mount -t cgroup2 cgroup2 sys/fs/cgroup
    mount -t tmpfs tmpfs run
    mount -t tmpfs tmpfs dev
    for device in null zero full random urandom tty; do
      touch dev/$device
      mount --bind /dev/$device dev/$device
    done
    mkdir dev/shm
    ln -s /proc/self/fd dev/fd
    exec env -i container=test PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
      chroot . '"$SYSTEMD"' --unit=multi-user.target --log-target=console
  ' || true
done
"""


def lacking() -> str | None:
    """What this machine has not that another one in namespaces needs; None when all is there."""
    if os.geteuid() != 0:
        return "namespaces and mounts need root"
    for program in ("unshare", "nsenter", str(SYSTEMD)):
        if shutil.which(program) is None:
            return f"there is no {program}"
    if _control_groups() is None:
        return "no cgroup2 hierarchy is mounted that can be written to"
    return None


class Machine:
    """`programs` (name to text) come first on its path; Python is at /opt/image/bin alone."""

    def __init__(self, folder: Path, *, python: Path, programs: Mapping[str, str]) -> None:
        self._folder = folder
        (folder / "bin").mkdir(parents=True)
        for name, text in programs.items():
            (folder / "bin" / name).write_text(text)
            (folder / "bin" / name).chmod(0o755)
        hierarchy = _control_groups()
        assert hierarchy is not None, lacking()
        self._control_group = hierarchy / f"visionstack-{os.getpid()}-{folder.name}"
        self._control_group.mkdir()
        with (folder / "console").open("wb") as console:
            self._power = subprocess.Popen(
                ["unshare", "--mount", "--pid", "--kill-child", "--fork", "bash", "-c", _POWER],
                env={
                    "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
                    "FOLDER": str(folder),
                    "PYTHON": str(python),
                    "SYSTEMD": str(SYSTEMD),
                    "CONTROL_GROUP": str(self._control_group),
                },
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
            )

    @property
    def console(self) -> str:
        """What the machine printed so far."""
        return (self._folder / "console").read_text(errors="replace")

    def wait_until_up(self, *, after: int | None = None) -> int:
        """The id of its first process once that runs; `after` is the one of the start before."""
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            init = self._init()
            if init is not None and init != after and self._state(init) in ("running", "degraded"):
                return init
            time.sleep(0.2)
        raise AssertionError(f"the machine did not come up:\n{self.console[-3000:]}")

    def run(
        self, *command: str, environment: Mapping[str, str] | None = None, timeout: float = 120
    ) -> subprocess.CompletedProcess[str]:
        """Run a command as root in the machine; the exit code is the caller's to look at."""
        init = self._init()
        assert init is not None, self.console[-3000:]
        return subprocess.run(
            [*_inside(init), *command],
            env={
                "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                **(environment or {}),
            },
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
        )

    def show(self, unit: str, *properties: str) -> dict[str, str]:
        """Properties of a unit as systemd has them."""
        names = ",".join(properties)
        told = self.run("systemctl", "show", unit, f"--property={names}").stdout
        return dict(line.split("=", 1) for line in told.splitlines())

    def end(self) -> None:
        """Switch it off, without asking it, and take its control groups away."""
        (self._folder / "off").touch()
        # `--kill-child` ends the first process of the outer namespace, and that all others.
        self._power.kill()
        self._power.wait()
        for _ in range(50):
            if self._clear():
                return
            time.sleep(0.1)
        raise AssertionError(f"{self._control_group} still has processes")

    def _clear(self) -> bool:
        for folder in sorted(self._control_group.rglob("*"), reverse=True):
            if folder.is_dir():
                try:
                    folder.rmdir()
                except OSError:
                    return False
        try:
            self._control_group.rmdir()
        except OSError:
            return False
        return True

    def _init(self) -> int | None:
        for process in psutil.Process(self._power.pid).children(recursive=True):
            try:
                parent = process.parent()
                if process.name() == "systemd" and parent and parent.name() == "unshare":
                    return process.pid
            except psutil.NoSuchProcess:
                continue
        return None

    def _state(self, init: int) -> str:
        return subprocess.run(
            [*_inside(init), "systemctl", "is-system-running"],
            capture_output=True,
            text=True,
            check=False,
        ).stdout.strip()


def _inside(init: int) -> list[str]:
    namespaces = ("--mount", "--pid", "--ipc", "--uts", "--cgroup")
    return ["nsenter", f"--target={init}", *namespaces, "--root", "--wd", "--"]


def _control_groups() -> Path | None:
    for line in Path("/proc/mounts").read_text().splitlines():
        _, place, kind, options, *_ = line.split()
        if kind == "cgroup2" and "rw" in options.split(","):
            return Path(place)
    return None
