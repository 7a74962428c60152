"""The server of a long run, in a mount namespace: `python -m benchmarks._long_server OPTIONS`.

Prints its two ports, then its wall clock every half second, and runs until its standard input ends.
Its models come from a bucket that is a folder, through the same cache as a deployed server's; its
waits are divided by `--speed`.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import time
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from benchmarks import _turning_models as models
from runtime.contract import Tls
from runtime.inference.store import Current, ModelStore
from runtime.protocol.limits import Limits
from runtime.streaming.__main__ import run
from runtime.streaming.host import logs
from runtime.streaming.models import ArtifactSource
from runtime.streaming.server import Server
from runtime.streaming.settings import Settings
from tests.unit.fake_s3 import FakeS3, FolderObjects
from tests.unit.streaming.conftest import TOKEN


class BucketSource(ArtifactSource):
    """Models of a bucket that is a folder."""

    def __init__(self, *, objects: Path, folder: Path) -> None:
        super().__init__(folder=folder, engine="onnxruntime", bucket="models")
        self._objects = objects

    @cached_property
    def _store(self) -> ModelStore:
        self._s3 = FakeS3(FolderObjects(self._objects))
        return ModelStore(self._s3, "models")

    def wanted(self, name: str) -> Current:
        found = super().wanted(name)
        # The stand-in remembers what was read, for tests.
        self._s3.reads.clear()
        return found


def make(options: argparse.Namespace) -> Server:
    """As deployed, but for the bucket and the waits."""
    usual = Limits()
    speed = options.speed
    limits = replace(
        usual,
        idle_seconds=usual.idle_seconds / speed,
        resume_seconds=usual.resume_seconds / speed,
    )
    settings = Settings(
        models=(models.DETECTOR,),
        models_folder=options.disk / "models",
        bucket="models",
        port=0,
        http_port=0,
        tls=Tls.OFF,
        token=TOKEN,
        limits=limits,
        reload_seconds=0.5,
    )
    return Server(
        settings,
        source=BucketSource(objects=options.objects, folder=settings.models_folder),
        gpus=lambda: None,
    )


async def tell_time() -> None:
    while True:
        print(time.time(), flush=True)
        await asyncio.sleep(0.5)


async def leak(rate: int, held: list[bytes]) -> None:
    """So many KiB a second that are never given back: what the measurement has to see."""
    while True:
        await asyncio.sleep(1)
        held.append(os.urandom(rate * 1024))


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--objects", type=Path, required=True)
    parser.add_argument("--disk", type=Path, required=True)
    parser.add_argument("--speed", type=float, required=True)
    parser.add_argument("--leak", type=int, default=0)
    options = parser.parse_args()
    server = make(options)
    serving = asyncio.create_task(run(server.settings, server=server))
    held: list[bytes] = []
    await server.listening.wait()
    while server.registry is None or server.registry.loading:
        await asyncio.sleep(0.01)
    print(server.port, server.http_port, flush=True)
    beside = [asyncio.create_task(tell_time())]
    if options.leak:
        beside.append(asyncio.create_task(leak(options.leak, held)))
    await asyncio.to_thread(sys.stdin.read)
    os.kill(os.getpid(), signal.SIGTERM)
    await serving
    for task in beside:
        task.cancel()


if __name__ == "__main__":
    logs.configure("INFO")
    asyncio.run(main())
