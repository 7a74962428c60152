"""A delaying wire between two TUN devices: netem is not in every kernel.

`python -m benchmarks._relay NEAR FAR` makes both devices, says "ready", and hands every IP packet
that leaves one of them to the other after the one-way delay, in milliseconds, that was last written
to its standard input. It ends with its standard input. TCP runs from end to end through it, so
handshakes, slow start and acknowledgements take their round trips as on a real way.
"""

from __future__ import annotations

import fcntl
import os
import select
import struct
import sys
import time
from collections import deque
from typing import Final

_TUNSETIFF: Final = 0x400454CA
_IFF_TUN: Final = 0x0001
_IFF_NO_PI: Final = 0x1000
_LONGEST_PACKET: Final = 65_535
_AT_ONCE: Final = 64
"""Packets read from one device before the other has its turn."""


def open_device(name: str) -> int:
    """A new TUN device's file: one read or write is one IP packet."""
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TUN | _IFF_NO_PI))
    return device


def relay(near: int, far: int, commands: int) -> None:
    """Returns when `commands` ends."""
    other = {near: far, far: near}
    under_way: deque[tuple[float, int, bytes]] = deque()
    delay = 0.0
    while True:
        wait = None if not under_way else max(0.0, under_way[0][0] - time.monotonic())
        readable, _, _ = select.select([near, far, commands], [], [], wait)
        for source in readable:
            if source == commands:
                line = os.read(commands, 100)
                if not line:
                    return
                delay = float(line.split()[-1]) / 1000
                continue
            for _ in range(_AT_ONCE):
                try:
                    packet = os.read(source, _LONGEST_PACKET)
                except BlockingIOError:
                    break
                under_way.append((time.monotonic() + delay, other[source], packet))
        now = time.monotonic()
        while under_way and under_way[0][0] <= now:
            _, target, packet = under_way.popleft()
            try:
                os.write(target, packet)
            except OSError:
                # As a wire does when the other end is down: the packet is lost.
                continue


def main() -> None:
    near, far = (open_device(name) for name in sys.argv[1:3])
    print("ready", flush=True)
    relay(near, far, sys.stdin.fileno())


if __name__ == "__main__":
    main()
