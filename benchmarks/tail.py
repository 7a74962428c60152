"""Where the slowest answers of the stream server spend their time, by its own account.

Clients with one frame in flight each, as in `peers`, all in one process beside the server. Of the
slowest hundredth of the answers: which part of what they take longer than the median is the
engine's call, which waiting for the engine while it works for others, and which all the rest
(sockets, decoding, boxes, threads). No server can take the first two from a closed loop on the same
engine; the rest is what another server could do better. Beside it the engine's own calls, alone.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, median
from typing import Any, Final

from benchmarks._inputs import camera_pictures, model_folder
from benchmarks._results import Results, table
from benchmarks.streaming import one_in_flight
from runtime.inference.detector import Detector
from runtime.measurement.statistics import percentile
from visionstack.server_process import served
from visionstack.stream.types import EndpointLike

CLIENTS: Final = (1, 4, 16)
PARTS: Final = ("inference", "queue", "uplink", "decode", "post", "downlink")


def main(out: Path, quick: bool) -> None:
    """Write `tail.json` after every number of clients."""
    results = Results(out / "tail.json", title="The tail", quick=quick)
    pictures = [file.read_bytes() for file in camera_pictures(out / "pictures")]
    frames = 200 if quick else 2000
    folder = model_folder()
    results.values["engine alone"] = _engine(folder, pictures, frames)
    rows = []
    with served(folder) as server:
        for clients in CLIENTS:
            parts = asyncio.run(_at_once(server, pictures, clients, frames // clients))
            results.values[f"{clients} clients"] = parts
            rows.append({"clients": clients, **slowest(parts)})
            results.values["rows"] = rows
            results.save()
    alone = results.values["engine alone"]
    print(f"engine alone: p50 {median(alone):.1f}, p99 {percentile(alone, 99):.1f} ms")
    print(table(rows))


def _engine(folder: Path, pictures: Sequence[bytes], frames: int) -> list[float]:
    detector = Detector.load(folder)
    prepared = [detector.read(picture) for picture in pictures]
    taken = []
    for number in range(frames + 10):
        began = time.perf_counter()
        detector.infer([prepared[number % len(prepared)]])
        taken.append(1000 * (time.perf_counter() - began))
    return taken[10:]


async def _at_once(
    server: EndpointLike, pictures: Sequence[bytes], clients: int, frames: int
) -> list[dict[str, float]]:
    found = await asyncio.gather(*(one_in_flight(server, pictures, frames) for _ in range(clients)))
    return [part for one in found for part in one["parts_ms"]]


def slowest(parts: Sequence[dict[str, float]]) -> dict[str, Any]:
    """Shares of what the slowest hundredth takes longer than the median, by part."""
    totals = [one["total"] for one in parts]
    bound = percentile(totals, 99)
    slow = [one for one in parts if one["total"] >= bound]
    more = {
        name: fmean(one[name] for one in slow) - median(one[name] for one in parts)
        for name in PARTS
    }
    whole = sum(more.values())
    shares = {f"{name} %": 100 * more[name] / whole for name in ("inference", "queue")}
    return {
        "p50 ms": median(totals),
        "p99 ms": bound,
        "p99 of inference": percentile([one["inference"] for one in parts], 99),
        **shares,
        "rest %": 100 - sum(shares.values()),
    }
