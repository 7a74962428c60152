"""Two network namespaces with a way between them whose round trip takes a given time.

The packets go through `benchmarks._relay`, a program that holds each one back for half the round
trip; no netem, which many kernels lack. Nothing limits the bandwidth, and only the namespaces made
here are touched and removed again. Needs root.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from typing import Self

from visionstack.paths import IMPORT_ROOT

NEAR_ADDRESS = "10.77.0.1"
FAR_ADDRESS = "10.77.0.2"


class LinkUnavailableError(Exception):
    """This machine cannot make the link; the message says why."""


class Link:
    """`with Link() as link`: programs run in `link.near` and `link.far`."""

    kind = "packets held back by a program between two TUN devices"
    """What makes the delay, in words."""

    def __init__(self) -> None:
        tag = f"{os.getpid() % 100_000}"
        self.near, self.far = f"vs-near-{tag}", f"vs-far-{tag}"
        self._devices = (f"vsn{tag}", f"vsf{tag}")
        self._relay: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        if os.geteuid() != 0:
            raise LinkUnavailableError("network namespaces need root")
        if shutil.which("ip") is None:
            raise LinkUnavailableError("ip is not installed (Debian: iproute2)")
        try:
            for name in (self.near, self.far):
                _run("ip", "netns", "add", name)
                _run("ip", "-n", name, "link", "set", "lo", "up")
            self._start_relay()
            for name, device, address, peer in (
                (self.near, self._devices[0], NEAR_ADDRESS, FAR_ADDRESS),
                (self.far, self._devices[1], FAR_ADDRESS, NEAR_ADDRESS),
            ):
                _run("ip", "link", "set", device, "netns", name)
                _run("ip", "-n", name, "addr", "add", address, "peer", peer, "dev", device)
                # A burst of a slow start must find room, as it does in a router.
                _run("ip", "-n", name, "link", "set", device, "up", "txqueuelen", "10000")
        except LinkUnavailableError:
            self._remove()
            raise
        except (OSError, subprocess.CalledProcessError) as error:
            self._remove()
            said = str(getattr(error, "stderr", "") or error).strip()
            raise LinkUnavailableError(f"the link cannot be made: {said}") from error
        return self

    def __exit__(self, *_: object) -> None:
        self._remove()

    def set_round_trip(self, milliseconds: float) -> None:
        """From now on; wait until the way is empty before, as packets in it keep their delay."""
        if self._relay is not None and self._relay.stdin is not None:
            self._relay.stdin.write(f"{milliseconds / 2}\n")
            self._relay.stdin.flush()

    def command(self, namespace: str, arguments: Sequence[str]) -> list[str]:
        """The command that runs `arguments` in a namespace."""
        return ["ip", "netns", "exec", namespace, *arguments]

    def _start_relay(self) -> None:
        self._relay = subprocess.Popen(
            [sys.executable, "-m", "benchmarks._relay", *self._devices],
            cwd=IMPORT_ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        if self._relay.stdout is None or self._relay.stdout.readline() != "ready\n":
            raise LinkUnavailableError("the kernel has no TUN devices")

    def _remove(self) -> None:
        if self._relay is not None:
            self._relay.communicate()
            self._relay = None
        for name in (self.near, self.far):
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)
