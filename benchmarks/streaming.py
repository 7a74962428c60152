"""The streaming lane against a plain loop in one process, and many streams for a long time.

The loop decodes, letterboxes, infers and suppresses one picture after another, with the same model
on the same engine; it is what a program would do that needs no network. Both are measured in short
rounds that take turns, so that a busy machine slows both, and the ratio is taken round by round.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import psutil

from benchmarks._inputs import camera_pictures, model_folder
from benchmarks._results import Results, table
from runtime.inference.detector import Detector
from runtime.inference.pictures import decode_bgr
from visionstack.server_process import Served, served
from visionstack.stream.client import AsyncStreamClient
from visionstack.stream.types import EndpointLike, StreamResult

MODEL = "yolov3-tiny"
_IN_FLIGHT = 4
_ACTIVE, _IDLE = 16, 64


def main(out: Path, quick: bool) -> None:
    """Write `streaming.json` into `out`."""
    results = Results(out / "streaming.json", title="The streaming lane", quick=quick)
    folder = model_folder(MODEL)
    pictures = [path.read_bytes() for path in camera_pictures(out / "pictures")]
    with served(folder) as server:
        asyncio.run(_measure(server, folder, pictures, results, quick=quick))


async def _measure(
    address: Served,
    folder: Path,
    pictures: Sequence[bytes],
    results: Results,
    *,
    quick: bool,
) -> None:
    rounds, frames = (4, 40) if quick else (20, 100)
    detector = Detector.load(folder)
    async with AsyncStreamClient(address, policy="lossless") as client:
        results.values["server"] = {
            "engine": client.server.engine,
            "precision": client.server.precision,
            "model": client.server.model,
            "version": client.server.version,
        }
    measured: list[dict[str, Any]] = []
    comparison: dict[str, Any] = {"frames_a_round": frames, "rounds": measured}
    results.values["against_loop"] = comparison
    for number in range(rounds + 1):
        one_round = {
            "loop": looped(detector, pictures, frames),
            "stream_one_in_flight": await one_in_flight(address, pictures, frames),
            "stream_several_in_flight": await _several(address, pictures, frames),
        }
        # The first round warms both up.
        if number:
            measured.append(one_round)
            comparison["summary"] = _summary(measured)
            results.save()
    _show(comparison["summary"])
    del detector
    results.values["many_streams"] = {}
    await _many_streams(address, pictures, results, seconds=8 if quick else 600)


def looped(detector: Detector, pictures: Sequence[bytes], frames: int) -> dict[str, Any]:
    """`frames` pictures one after another: `latency_ms` of each, `seconds` of all."""
    latencies = []
    began = time.perf_counter()
    for number in range(frames):
        start = time.perf_counter()
        prepared = detector.prepare(decode_bgr(pictures[number % len(pictures)]))
        (raw,) = detector.infer([prepared])
        detector.finish(raw, prepared)
        latencies.append((time.perf_counter() - start) * 1000)
    return {"latency_ms": latencies, "seconds": time.perf_counter() - began}


async def one_in_flight(
    address: EndpointLike, pictures: Sequence[bytes], frames: int
) -> dict[str, Any]:
    """As `looped`, each sent when the one before is answered; `parts_ms` from the server."""
    latencies, parts = [], []
    async with AsyncStreamClient(address, policy="lossless", in_flight=1) as client:
        await client.detect(pictures[0])
        began = time.perf_counter()
        for number in range(frames):
            start = time.perf_counter()
            result = await client.detect(pictures[number % len(pictures)])
            latencies.append((time.perf_counter() - start) * 1000)
            parts.append(asdict(result.latency))
        seconds = time.perf_counter() - began
    return {"latency_ms": latencies, "seconds": seconds, "parts_ms": parts}


async def _several(address: EndpointLike, pictures: Sequence[bytes], frames: int) -> dict[str, Any]:
    latencies = []
    async with AsyncStreamClient(address, policy="lossless", in_flight=_IN_FLIGHT) as client:
        await client.detect(pictures[0])
        began = time.perf_counter()
        async for answer in client.stream(pictures[n % len(pictures)] for n in range(frames)):
            if isinstance(answer, StreamResult):
                latencies.append(answer.latency.total)
        seconds = time.perf_counter() - began
    return {"latency_ms": latencies, "seconds": seconds}


def _summary(rounds: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Medians over rounds; the spread is the middle half of the rounds."""
    loop = [median(one["loop"]["latency_ms"]) for one in rounds]
    single = [median(one["stream_one_in_flight"]["latency_ms"]) for one in rounds]
    added = [b - a for a, b in zip(loop, single, strict=True)]
    gain = [one["loop"]["seconds"] / one["stream_several_in_flight"]["seconds"] for one in rounds]
    return {
        "loop_p50_ms": median(loop),
        "stream_one_in_flight_p50_ms": median(single),
        "added_p50_ms": {"median": median(added), "middle_half": _middle(added), "target": 1.0},
        "throughput_ratio": {"median": median(gain), "middle_half": _middle(gain), "target": 1.1},
        "in_flight": _IN_FLIGHT,
    }


def _middle(values: Sequence[float]) -> list[float]:
    if len(values) < 2:
        return [values[0], values[0]]
    low, _, high = quantiles(values, n=4, method="inclusive")
    return [low, high]


def _show(summary: dict[str, Any]) -> None:
    rows = [
        {"what": "loop, p50 ms", "median": summary["loop_p50_ms"]},
        {"what": "stream, one in flight, p50 ms", "median": summary["stream_one_in_flight_p50_ms"]},
        {"what": "added, ms", **_row(summary["added_p50_ms"])},
        {"what": "throughput, several in flight / loop", **_row(summary["throughput_ratio"])},
    ]
    print(table(rows, ["what", "median", "low", "high", "target"]))


def _row(value: dict[str, Any]) -> dict[str, Any]:
    low, high = value["middle_half"]
    return {"median": value["median"], "low": low, "high": high, "target": value["target"]}


async def _many_streams(
    address: Served,
    pictures: Sequence[bytes],
    results: Results,
    *,
    seconds: float,
) -> None:
    """Idle streams hold their connection, active ones send all the time; memory every second."""
    document = results.values["many_streams"]
    document |= {"active": _ACTIVE, "idle": _IDLE, "seconds": seconds, "resident_mib": []}
    clients = [AsyncStreamClient(address, policy="lossless") for _ in range(_IDLE + _ACTIVE)]
    for client in clients:
        await client.connect()
    active = clients[:_ACTIVE]
    stop = time.monotonic() + seconds
    process = psutil.Process(address.pid)

    async def send(client: AsyncStreamClient) -> None:
        number = 0
        while time.monotonic() < stop:
            batch = (pictures[(number + n) % len(pictures)] for n in range(32))
            number += 32
            async for _ in client.stream(batch):
                if time.monotonic() >= stop:
                    break

    senders = [asyncio.create_task(send(client)) for client in active]
    while time.monotonic() < stop:
        await asyncio.sleep(1)
        document["resident_mib"].append(process.memory_info().rss / 2**20)
        if len(document["resident_mib"]) % 30 == 0:
            results.save()
    for sender in senders:
        sender.cancel()
    await asyncio.gather(*senders, return_exceptions=True)
    shares = [client.counts.results for client in active]
    for client in clients:
        await client.close()
    memory = document["resident_mib"]
    settled = memory[len(memory) // 4 :]
    document |= {
        "frames_by_stream": shares,
        "frames_a_second": sum(shares) / seconds,
        "fairness_least_to_most": min(shares) / max(shares),
        "fairness_resolution": 1 / max(shares),
        "memory_growth_mib": median(settled[-5:]) - median(settled[:5]),
    }
    results.save()
    print(
        f"{_IDLE} idle and {_ACTIVE} active streams, {seconds:.0f} s: "
        f"{document['frames_a_second']:.1f} frames/s, least to most "
        f"{document['fairness_least_to_most']:.3f} (target 0.9, one frame is "
        f"{document['fairness_resolution']:.3f}), memory "
        f"{memory[-1]:.0f} MiB, {document['memory_growth_mib']:+.1f} MiB since the first quarter"
    )
