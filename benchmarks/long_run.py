"""Eight hours of use squeezed into half an hour: does anything grow, is any frame unaccounted for?

    python -m benchmarks.long_run [--minutes M] [--seed N] [--leak KIB]

A server that runs from its bucket's cache as a deployed one, except that what it waits for (idle
connections, streams that may resume) is sixteen times shorter. Clients of all modes come and go;
some connections are torn, some machines are lost, some processes killed. Meanwhile models are
published, promoted and rolled back, some while the disk is full (a small tmpfs in a mount
namespace of the server, which also takes its log); and its wall clock jumps by hours, days and
years (libfaketime; the monotonic clock goes on). The network is a stand-in that names its version.

Twice a second: the server's resident memory, descriptors and threads, and what its model cache
takes. After a warm-up each has to be flat by the interval of a fitted slope (`_flatness.py`). Every
frame sent is answered, or reported as dropped or failed. `--leak` shows that a leak is seen: it
must fail.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, Final

import httpx
from prometheus_client.parser import text_string_to_metric_families

from benchmarks import _turning_models as models
from benchmarks._long_clients import WINDOW, Client, Ledger
from benchmarks._long_target import SPEED, LongRunError, Samples, Target, clock_library
from benchmarks._results import Results, own_options, table
from tests.unit.fake_s3 import FakeS3, FolderObjects
from tests.unit.streaming.conftest import TOKEN
from visionstack.models.publishing import publish
from visionstack.models.versions import Versions
from visionstack.stream.types import StreamAddress

_MINUTES, _QUICK_MINUTES = 30.0, 1.5
_AT_ONCE: Final = 5
_SAMPLE_SECONDS: Final = 0.5
_CLOCK_JUMPS: Final = (3600, -3600, 86_400, -86_400, 30 * 86_400, -400 * 86_400, 8 * 365 * 86_400)
"""Seconds; the last stays before 2038."""


@dataclass
class Scene:
    """The server, what it is asked and what befell it."""

    target: Target
    chance: random.Random
    ledger: Ledger = field(default_factory=Ledger)
    befell: Counter[str] = field(default_factory=Counter)
    samples: Samples = field(default_factory=Samples)
    over: asyncio.Event = field(default_factory=asyncio.Event)
    http: httpx.AsyncClient = field(default_factory=httpx.AsyncClient)

    def fault(self, what: str) -> None:
        self.ledger.faults.append(what)

    async def page(self, path: str) -> httpx.Response:
        return await self.http.get(f"http://127.0.0.1:{self.target.http_port}{path}", timeout=20)

    async def counter(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples with these labels."""
        families = text_string_to_metric_families((await self.page("/metrics")).text)
        return sum(
            one.value
            for one in chain.from_iterable(family.samples for family in families)
            if one.name == f"visionstack_stream_{name}" and labels.items() <= one.labels.items()
        )

    async def pause(self, seconds: float) -> None:
        """Shorter when the time is over."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.over.wait(), seconds)

    async def visitors(self) -> None:
        """One place: a client, a moment's rest, the next."""
        address = StreamAddress("127.0.0.1", self.target.port, TOKEN)
        while not self.over.is_set():
            await Client(address, self.ledger, self.chance).visit()
            await self.pause(self.chance.uniform(0.0, 1.0))

    async def sampling(self) -> None:
        began = time.monotonic()
        while not self.over.is_set():
            self.target.sample(self.samples, time.monotonic() - began)
            await self.pause(_SAMPLE_SECONDS)

    async def readiness(self) -> None:
        while not self.over.is_set():
            ready = await self.page("/readyz")
            if ready.status_code != 200:
                self.fault(f"/readyz says {ready.text!r}")
            await self.pause(1.0)

    async def clock(self) -> None:
        """Jumps, each seen in the time that the server tells."""
        while not self.over.is_set():
            await self.pause(self.chance.uniform(4.0, 10.0))
            jump = self.chance.choice(_CLOCK_JUMPS)
            self.target.set_clock(jump)
            until = time.monotonic() + 5
            while abs(await self.target.clock_ahead() - jump) > 60:
                # What is still in the pipe was told before the jump.
                if time.monotonic() > until:
                    self.fault(f"the server's clock was not moved by {jump} s")
                    break
            self.befell["clock jumps"] += 1


class Models:
    """Versions that are published, promoted and rolled back under the server."""

    def __init__(self, scene: Scene, folder: Path) -> None:
        self._scene = scene
        self._folder = folder / "built"
        self._s3 = FakeS3(FolderObjects(scene.target.objects))
        self._versions = Versions(self._s3, "models", models.DETECTOR)
        self._edition = 0

    def publish(self) -> str:
        """A new version, whose network is the other one than the last had."""
        self._edition += 1
        network = self._edition % 2
        shutil.rmtree(self._folder, ignore_errors=True)
        artifact = models.detector(network, root=self._folder, edition=f"edition {self._edition}")
        version = artifact.manifest.version
        self._scene.ledger.versions[version] = network
        publish(artifact, client=self._s3, bucket="models")
        self._versions.collect()
        self._s3.reads.clear()
        return version

    async def turns(self) -> None:
        scene = self._scene
        while True:
            for kind in ("published", "published", "rolled back", "published on a full disk"):
                await scene.pause(scene.chance.uniform(2.0, 6.0))
                if scene.over.is_set():
                    return
                if kind == "rolled back":
                    before = self._versions.before()
                    if before is None:
                        continue
                    self._versions.promote(before, anyway=True, action="rollback")
                    await self._followed(before)
                elif kind == "published":
                    await self._followed(await asyncio.to_thread(self.publish))
                else:
                    await self._on_a_full_disk()
                scene.befell[kind] += 1

    async def _on_a_full_disk(self) -> None:
        """Refused, the old one goes on; the next is followed once there is room."""
        scene = self._scene
        refused = await scene.counter("model_reloads_total", outcome="refused")
        scene.target.fill()
        try:
            version = await asyncio.to_thread(self.publish)
            deadline = time.monotonic() + 20
            while await scene.counter("model_reloads_total", outcome="refused") == refused:
                if time.monotonic() > deadline:
                    scene.fault(
                        f"{version} found no room and was not refused in 20 s;"
                        f" served is {await self._served()}"
                    )
                    break
                await asyncio.sleep(0.2)
        finally:
            scene.target.empty()
        await self._followed(await asyncio.to_thread(self.publish))

    async def _followed(self, version: str) -> None:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            if await self._served() == version:
                return
            await asyncio.sleep(0.2)
        self._scene.fault(f"version {version} was not followed in 30 s")

    async def _served(self) -> str:
        document = json.loads((await self._scene.page("/healthz")).content)
        return str(document["models"][models.DETECTOR]["version"])


@asynccontextmanager
async def _scene(chance: random.Random, *, leak: int) -> AsyncIterator[tuple[Scene, Models]]:
    with tempfile.TemporaryDirectory(prefix="long-run-") as name:
        folder = Path(name)
        target = Target(folder, clock_library())
        scene = Scene(target, chance)
        published = Models(scene, folder)
        published.publish()
        await target.start(leak=leak)
        try:
            yield scene, published
        except BaseException:
            with contextlib.suppress(OSError):
                print(target.process, (target.inside / "server.log").read_text()[-2000:])
            if target.process is not None and target.process.returncode is None:
                target.process.kill()
            raise
        status = await target.end()
        if status:
            scene.fault(f"the server ended with {status}")


async def run(*, minutes: float, seed: int, leak: int = 0) -> dict[str, Any]:
    chance = random.Random(seed)  # noqa: S311 - the same again, not a secret
    async with _scene(chance, leak=leak) as (scene, published):
        target, ledger = scene.target, scene.ledger
        resting = Samples()
        target.sample(resting, 0.0)
        tasks = [
            *(asyncio.create_task(scene.visitors()) for _ in range(_AT_ONCE)),
            asyncio.create_task(scene.sampling()),
            asyncio.create_task(scene.readiness()),
            asyncio.create_task(published.turns()),
        ]
        if target.has_clock:
            tasks.append(asyncio.create_task(scene.clock()))
        began = time.monotonic()
        ending = asyncio.get_running_loop().call_later(minutes * 60, scene.over.set)
        try:
            await asyncio.gather(*tasks)
        finally:
            ending.cancel()
            for task in tasks:
                task.cancel()
        seconds = time.monotonic() - began
        left = await _books(scene, resting)
        log_bytes = target.log_bytes + (target.inside / "server.log").stat().st_size
    trends = scene.samples.trends()
    accounted = ledger.answered + ledger.dropped + ledger.failed + ledger.abandoned
    if accounted != ledger.sent:
        scene.fault(f"{ledger.sent} frames sent, {accounted} accounted for")
    return {
        "seed": seed,
        "leak_kib_per_second": leak,
        "minutes": seconds / 60,
        "simulated_hours": seconds / 3600 * SPEED,
        "clock": "moved by libfaketime" if target.has_clock else "not moved: no libfaketime here",
        "befell": dict(scene.befell),
        "clients": dict(ledger.clients),
        "frames": {
            name: getattr(ledger, name)
            for name in ("sent", "answered", "dropped", "failed", "abandoned")
        },
        "left_on_the_server": left,
        "log_bytes": log_bytes,
        "trends": {name: one.to_json() for name, one in trends.items()},
        "samples": scene.samples.__dict__,
        "faults": ledger.faults,
    }


async def _books(scene: Scene, resting: Samples) -> dict[str, float]:
    """What the server still holds once all have left and what may resume has run out of time."""
    ledger, deadline = scene.ledger, time.monotonic() + 20
    while True:
        held = {
            "connections": await scene.counter("connections"),
            "sessions": await scene.counter("sessions"),
            "waiting": await scene.counter("frames_waiting"),
        }
        now = Samples()
        scene.target.sample(now, 0.0)
        held["descriptors"] = now.descriptors[0] - resting.descriptors[0]
        # One connection is the one that asks.
        if not any(held[name] for name in ("connections", "sessions", "waiting")):
            break
        if time.monotonic() > deadline:
            scene.fault(f"the server still holds {held}")
            break
        await asyncio.sleep(0.5)
    # Of clients that went without a word the server may have taken frames and answered nobody.
    gone = ledger.clients["killed"] + ledger.clients["lost"] + ledger.clients["torn"]
    taken, answers = await scene.counter("frames_total"), await scene.counter("answers_total")
    held |= {"frames": taken, "answers": answers}
    if not 0 <= taken - answers <= WINDOW * gone:
        scene.fault(f"the server took {taken:.0f} frames and answered {answers:.0f}")
    return held


def main(
    out: Path,
    quick: bool,
    *,
    minutes: float | None = None,
    seed: int | None = None,
    leak: int = 0,
) -> None:
    """Write `long_run.json` into `out`; another seed each time unless given. Raises LongRunError.

    `leak`: KiB a second that the server is to keep.
    """
    minutes = minutes or (_QUICK_MINUTES if quick else _MINUTES)
    seed = random.SystemRandom().randrange(2**32) if seed is None else seed
    print(f"seed {seed}, {minutes:g} minutes", flush=True)
    results = Results(out / "long_run.json", title="A long run of the streaming lane", quick=quick)
    found = asyncio.run(run(minutes=minutes, seed=seed, leak=leak))
    results.values |= found
    results.save()
    rows = [{"quantity": name, **figures} for name, figures in found["trends"].items()]
    print(
        table(rows, ("quantity", "samples", "mean", "growth", "low", "high", "allowed", "verdict"))
    )
    for name in ("frames", "clients", "befell", "left_on_the_server", "clock", "log_bytes"):
        print(f"{name}: {found[name]}")
    if found["faults"]:
        raise LongRunError(f"{len(found['faults'])} faults: {'; '.join(found['faults'][:5])}")
    growing = [name for name, one in found["trends"].items() if one["verdict"] != "flat"]
    # In a minute and a half the server has not even all of its threads.
    if growing and not quick:
        raise LongRunError(f"not flat: {', '.join(growing)}")


if __name__ == "__main__":
    parser = own_options(__doc__)
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--leak", type=int, default=0, help="KiB a second that the server keeps")
    main(**vars(parser.parse_args()), quick=False)
