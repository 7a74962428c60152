"""Lossless streams while connections are torn and cut and two servers are killed and drained.

    python -m benchmarks.chaos [--minutes M] [--seed N]

Four streams (jpeg, h264, gate, track) go to two server processes over relays. What befalls them is
drawn from the seed, which is printed. Each answer is compared with that of an undisturbed run; a
frame that is lost, answered twice, out of order or otherwise is a failure. The detector is the
tests' stand-in, whose class is the picture's grey: what is tried is the lane, not a network.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np

from benchmarks._results import Results, own_options, table
from tests.unit.streaming.conftest import TOKEN
from tests.unit.streaming.test_resuming import Cable
from visionstack.paths import IMPORT_ROOT
from visionstack.stream.client import AsyncStreamClient, Patience
from visionstack.stream.types import Answer, StreamAddress, StreamResult

_MINUTES, _QUICK_MINUTES = 12.0, 0.4
_PATIENCE: Final = Patience(
    connect=3.0, give_up=120, begin=60, first_delay=0.02, longest_delay=0.5, ping=0.2, silence=1.5
)
_SCENE: Final = 12
"""Frames of one grey; a multiple of `_KEY_INTERVAL`."""
_KEY_INTERVAL: Final = 2
_GREYS: Final = (40, 80, 120, 160, 200)
_PERIOD: Final = _SCENE * len(_GREYS)
MODES: Final[dict[str, dict[str, Any]]] = {
    "jpeg": {},
    "h264": {"encoding": "h264"},
    "gate": {"gate": 0.05},
    "track": {"track": True, "key_interval": _KEY_INTERVAL},
}


class ChaosError(Exception):
    """A frame was lost, answered twice, out of order, or otherwise than undisturbed."""


class Wire(Cable):
    """The tests' relay, to a server that may be exchanged for another or be gone."""

    def plug(self, port: int) -> None:
        self._target = StreamAddress("127.0.0.1", port, TOKEN)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await super()._accept(reader, writer)
        except OSError:
            writer.transport.abort()


class Host:
    """One server process after another, behind one wire."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        self._process = process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.adversary.server_process"),
            cwd=IMPORT_ROOT,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        if process.stdout is None:
            raise RuntimeError("the server has no output")
        port = (await process.stdout.readline()).split()[0]
        self.wire.plug(int(port))

    async def end(self, *, drain: bool = True) -> None:
        process, self._process = self._process, None
        if process is None or process.stdin is None:
            return
        if drain:
            # It sends itself SIGTERM then.
            process.stdin.close()
        else:
            process.kill()
        await process.wait()

    async def replace(self, *, drain: bool) -> None:
        await self.end(drain=drain)
        await self.start()


@dataclass
class Stream:
    """One mode's answers, checked as they come."""

    mode: str
    expected: list[int | None] = field(default_factory=list)
    """The class of each frame of a period in the undisturbed run; None: nothing was found."""
    answered: int = 0
    connections: int = 0
    faults: list[str] = field(default_factory=list)

    async def run(
        self, addresses: list[StreamAddress], until: asyncio.Event, *, least: int
    ) -> None:
        """At least so many frames, and on until the event."""
        options = MODES[self.mode]
        client = AsyncStreamClient(addresses, policy="lossless", patience=_PATIENCE, **options)

        async def pictures() -> AsyncIterator[Any]:
            number = 0
            while number < least or not until.is_set():
                yield _picture(self.mode, number)
                number += 1
            self._sent = number

        self._sent = -1
        async with client:
            async for answer in client.stream(pictures()):
                self._check(answer)
            self.connections = client.counts.connections
        if self.answered != self._sent:
            self.faults.append(f"{self._sent} frames sent, {self.answered} answered")

    def _check(self, answer: Answer) -> None:
        if answer.sequence != self.answered:
            self.faults.append(f"frame {answer.sequence} where {self.answered} comes next")
        self.answered += 1
        if not isinstance(answer, StreamResult):
            self.faults.append(f"{answer}")
            return
        found = answer.detections[0].class_id if answer.detections else None
        if not self.expected or len(self.expected) < _PERIOD:
            return
        at = answer.sequence % _PERIOD
        # Between two key frames the boxes are those of the last one, which after another
        # connection may be the scene before.
        back = _KEY_INTERVAL if self.mode == "track" else 1
        right = [self.expected[(at - earlier) % _PERIOD] for earlier in range(back)]
        # What H.264 makes of a grey depends on where its encoder began.
        tolerance = 3 if self.mode == "h264" else 0
        if not any(_alike(found, one, tolerance) for one in right):
            self.faults.append(f"frame {answer.sequence}: {found} where {right} is right")


def _alike(found: int | None, right: int | None, tolerance: int) -> bool:
    if found is None or right is None:
        return found is right
    return abs(found - right) <= tolerance


def _pixels(number: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.full((48, 64, 3), _GREYS[number % _PERIOD // _SCENE], np.uint8)


_JPEGS: Final = [
    cv2.imencode(".jpg", _pixels(number * _SCENE))[1].tobytes() for number in range(len(_GREYS))
]


def _picture(mode: str, number: int) -> Any:
    return _pixels(number) if mode == "h264" else _JPEGS[number % _PERIOD // _SCENE]


async def reference(address: StreamAddress) -> dict[str, list[int | None]]:
    """What each mode answers undisturbed, in a second period."""
    found = {}
    for mode, options in MODES.items():
        async with AsyncStreamClient(address, policy="lossless", **options) as client:
            pictures = (_picture(mode, number) for number in range(2 * _PERIOD))
            answers = [a async for a in client.stream(pictures) if isinstance(a, StreamResult)]
        if len(answers) != 2 * _PERIOD:
            raise ChaosError(f"the undisturbed run of {mode} has {len(answers)} results")
        found[mode] = [
            a.detections[0].class_id if a.detections else None for a in answers[_PERIOD:]
        ]
    return found


async def disturb(hosts: list[Host], chance: random.Random, seconds: float) -> Counter[str]:
    """Something befalls the wires and servers every now and then; counted by what it was."""
    done: Counter[str] = Counter()
    until = time.monotonic() + seconds
    kinds = ("tear", "cut", "partition", "kill", "drain")
    while time.monotonic() < until:
        await asyncio.sleep(chance.uniform(0.1, 1.5))
        (kind,) = chance.choices(kinds, weights=(8, 5, 1, 2, 2))
        host = chance.choice(hosts)
        pause = chance.uniform(0.05, 2.5)
        done[kind] += 1
        match kind:
            case "tear":
                host.wire.tear()
            case "cut" | "partition":
                cut = hosts if kind == "partition" else [host]
                for one in cut:
                    one.wire.cut()
                await asyncio.sleep(pause)
                for one in cut:
                    if chance.random() < 0.5:
                        one.wire.tear()
                    one.wire.mend()
            case "kill":
                await host.replace(drain=False)
            case "drain":
                await host.replace(drain=True)
    return done


async def run(*, minutes: float, seed: int) -> dict[str, Any]:
    chance = random.Random(seed)  # noqa: S311 - the same again, not a secret
    over = asyncio.Event()
    async with contextlib.AsyncExitStack() as stack:
        hosts = []
        for _ in range(2):
            wire = Wire(StreamAddress("127.0.0.1", 1, TOKEN))
            await stack.enter_async_context(wire.laid())
            host = Host(wire)
            stack.push_async_callback(host.end)
            await host.start()
            hosts.append(host)
        right = await reference(hosts[0].wire.address)
        streams = [Stream(mode, expected=right[mode]) for mode in MODES]
        addresses = [host.wire.address for host in hosts]
        running = [
            asyncio.create_task(stream.run(addresses, over, least=_PERIOD)) for stream in streams
        ]
        began = time.monotonic()
        befell = await disturb(hosts, chance, minutes * 60)
        over.set()
        await asyncio.gather(*running)
        seconds = time.monotonic() - began
    return {
        "seed": seed,
        "seconds": seconds,
        "befell": dict(befell),
        "streams": {
            one.mode: {
                "frames": one.answered,
                "connections": one.connections,
                "faults": one.faults[:20],
            }
            for one in streams
        },
        "frames": sum(one.answered for one in streams),
        "faults": sum(len(one.faults) for one in streams),
    }


def _report(found: dict[str, Any]) -> Iterator[str]:
    rows = [
        {"mode": mode, **figures, "faults": len(figures["faults"])}
        for mode, figures in found["streams"].items()
    ]
    yield table(rows)
    yield f"{found['frames']:,} frames in {found['seconds']:.0f} s; {found['befell']}"


def main(out: Path, quick: bool, *, minutes: float | None = None, seed: int | None = None) -> None:
    """Write `chaos.json` into `out`; another seed each time unless given. Raises ChaosError."""
    minutes = minutes or (_QUICK_MINUTES if quick else _MINUTES)
    seed = random.SystemRandom().randrange(2**32) if seed is None else seed
    print(f"seed {seed}, {minutes:g} minutes", flush=True)
    results = Results(out / "chaos.json", title="Chaos on the streaming lane", quick=quick)
    found = asyncio.run(run(minutes=minutes, seed=seed))
    results.values |= found
    results.save()
    print("\n".join(_report(found)))
    if found["faults"]:
        first = next(one["faults"][0] for one in found["streams"].values() if one["faults"])
        raise ChaosError(f"{found['faults']} faults with seed {seed}, the first: {first}")


if __name__ == "__main__":
    parser = own_options(__doc__)
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--seed", type=int)
    main(**vars(parser.parse_args()), quick=False)
