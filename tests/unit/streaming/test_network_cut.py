"""A network that is really gone for five seconds: two namespaces, and the link between them down.

Only where namespaces may be made (`conftest` looks); elsewhere `test_resuming` cuts a relay.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import Queue

import pytest

ROOT = Path(__file__).resolve().parents[3]
FRAMES = 300
CUT_SECONDS = 5.0

SERVER = """
import asyncio
from pathlib import Path
from tests.unit.streaming.conftest import FakeDetector, FakeSource, make_server
from runtime.contract import Tls

async def main():
    source = FakeSource(FakeDetector(seconds=0.005))
    server = make_server(Path("."), source=source, host="10.78.0.2", tls=Tls.SELF_SIGNED)
    await server.start()
    print(server.port, server.fingerprint, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""

CLIENT = """
import asyncio, json, sys
from tests.unit.streaming.conftest import TOKEN, picture
from tests.unit.streaming.test_resuming import HASTY
from visionstack.stream.client import AsyncStreamClient
from visionstack.stream.types import StreamAddress, StreamResult

async def main(port, fingerprint, frames):
    address = StreamAddress("10.78.0.2", int(port), TOKEN, fingerprint)
    async with AsyncStreamClient(address, policy="lossless", patience=HASTY) as client:
        async for answer in client.stream(picture(n % 250) for n in range(int(frames))):
            found = answer.detections[0].class_id if isinstance(answer, StreamResult) else None
            print(json.dumps([answer.sequence, found]), flush=True)
        print(json.dumps([client.counts.connections, client.server.resumed]), flush=True)

asyncio.run(main(*sys.argv[1:]))
"""


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, timeout=20)


@dataclass(frozen=True)
class Link:
    """Two namespaces and the device that ends the link in the far one."""

    near: str
    far: str
    device: str

    @contextmanager
    def running(self, namespace: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        """A Python program in one of them, until the block ends."""
        process = subprocess.Popen(
            ["ip", "netns", "exec", namespace, sys.executable, "-c", *arguments],
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        try:
            yield process
        finally:
            process.kill()
            process.communicate(timeout=20)

    def set(self, state: str) -> None:
        ip("-n", self.far, "link", "set", self.device, state)


@pytest.fixture
def link() -> Iterator[Link]:
    tag = os.getpid() % 100_000
    made = Link(f"vs-cut-near-{tag}", f"vs-cut-far-{tag}", f"vscf{tag}")
    try:
        for namespace in (made.near, made.far):
            ip("netns", "add", namespace)
        ip(
            *("-n", made.near, "link", "add", "near", "type", "veth"),
            *("peer", "name", made.device, "netns", made.far),
        )
        ip("-n", made.near, "addr", "add", "10.78.0.1/24", "dev", "near")
        ip("-n", made.far, "addr", "add", "10.78.0.2/24", "dev", made.device)
        ip("-n", made.near, "link", "set", "near", "up")
        made.set("up")
        yield made
    finally:
        for namespace in (made.near, made.far):
            subprocess.run(["ip", "netns", "del", namespace], check=False, capture_output=True)


def lines_of(process: subprocess.Popen[str]) -> Queue[list[object]]:
    """Lines of JSON as they come."""
    assert process.stdout is not None
    stdout, lines = process.stdout, Queue()

    def read() -> None:
        for line in stdout:
            lines.put(json.loads(line))

    threading.Thread(target=read, daemon=True).start()
    return lines


def test_a_lossless_stream_loses_and_repeats_nothing_while_the_network_is_gone(link: Link) -> None:
    with link.running(link.far, SERVER) as server:
        assert server.stdout is not None
        port, fingerprint = server.stdout.readline().split()
        with link.running(link.near, CLIENT, port, fingerprint, str(FRAMES)) as client:
            lines = lines_of(client)
            answers = [lines.get(timeout=60) for _ in range(FRAMES // 6)]
            link.set("down")
            # What had left before still arrives.
            time.sleep(0.5)
            before = lines.qsize()
            time.sleep(CUT_SECONDS - 0.5)
            assert lines.qsize() == before
            assert len(answers) + before < FRAMES
            link.set("up")
            answers += [lines.get(timeout=60) for _ in range(FRAMES - len(answers))]
            connections, resumed = lines.get(timeout=60)
    assert answers == [[n, n % 250] for n in range(FRAMES)]
    assert isinstance(connections, int)
    assert connections >= 2
    assert resumed is True
