"""The streaming server against LitServe, Ray Serve, BentoML and Triton: frames/s and latency.

All serve the same ONNX file with OpenVINO and this project's own decoding, letterboxing and
suppression, on loopback without TLS, and are loaded by the same separate process with the same
640x480 JPEG pictures, by 1, 4 and 16 clients. The engine has as many threads as the machine has
processors, in one worker or shared by two. A peer stands with each of the ways its documentation
recommends, and is compared by the one that does best at the figure in question. Every round starts,
measures and ends every server, with ours measured anew beside each peer: the machine's speed drifts
within a round, and a ratio is taken between neighbours.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from itertools import chain
from operator import itemgetter
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks._inputs import camera_pictures, model_folder
from benchmarks._load import HttpClient, Load, LoadError, one_answer
from benchmarks._peers.environments import Peer, PeerUnavailableError
from benchmarks._peers.servers import Contender, serving
from benchmarks._peers.visionstack_app import TOKEN
from benchmarks._results import Results, table
from runtime.inference.detector import Detector
from runtime.inference.engines.processor import usable_processors
from runtime.measurement.statistics import summarize
from visionstack.paths import CHECKOUT

CLIENTS = (1, 4, 16)
_HALF = max(1, usable_processors() // 2)
OURS = "visionstack"

LITSERVE = Peer("litserve", "litserve==0.2.19")
RAY = Peer("ray", "ray[serve]==2.60.0")
BENTOML = Peer("bentoml", "bentoml==1.4.39")
TRITON = Peer(
    "triton",
    "nvidia-pytriton==0.7.0",
    instead=("numpy==1.26.4", "opencv-python-headless==4.11.0.86"),
    interpreter="/usr/bin/python3",
)
"""PyTriton wants numpy 1, and the Python inside its Triton does not go with the standard library of
Python 3.11.7; with that of Debian's 3.11.2 it does."""

_OWN = Contender(
    name=OURS,
    setup="one frame in flight",
    peer=None,
    command=("-m", "benchmarks._peers.visionstack_app"),
)
_LITSERVE = Contender(
    name="LitServe",
    setup="one worker",
    peer=LITSERVE,
    command=("-m", "benchmarks._peers.litserve_app"),
    path="/predict",
)
_RAY = Contender(
    name="Ray Serve", setup="one replica", peer=RAY, command=("-m", "benchmarks._peers.ray_app")
)
_BENTOML = Contender(
    name="BentoML",
    setup="one worker",
    peer=BENTOML,
    command=(
        *("-m", "bentoml", "serve", "benchmarks._peers.bentoml_app:DetectionService"),
        *("--host", "127.0.0.1", "--port", "{port}", "--working-dir", str(CHECKOUT)),
    ),
    path="/raw/detect",
)
_TRITON = Contender(
    name="Triton",
    setup="batches of up to 8",
    peer=TRITON,
    command=("-m", "benchmarks._peers.triton_app"),
    batch=8,
    path="/v2/models/detect/infer",
    body="triton",
)
_OVERLAPPING = replace(_OWN, setup="four frames in flight", in_flight=4)
CONTENDERS = (
    _LITSERVE,
    replace(_LITSERVE, setup="two workers", workers=2, threads=_HALF),
    replace(_LITSERVE, setup="batches of up to 8", batch=8),
    _RAY,
    replace(_RAY, setup="two replicas", workers=2, threads=_HALF),
    replace(_RAY, setup="batches of up to 8", batch=8),
    _BENTOML,
    replace(_BENTOML, setup="two workers", workers=2, threads=_HALF),
    replace(
        _BENTOML,
        setup="adaptive batching, up to 8",
        batch=8,
        path="/batched",
        body="form",
    ),
    _TRITON,
    replace(_TRITON, setup="two instances", workers=2, threads=_HALF),
)
QUICK = (_LITSERVE, CONTENDERS[2], _RAY, _BENTOML, _TRITON)
"""What did best in the full runs."""

Measure = Callable[[dict[str, Any]], float]
MEASURES: dict[str, tuple[Measure, bool]] = {
    "frames_per_second": (lambda run: float(run["frames_per_second"]), True),
    "p50_ms": (lambda run: float(run["latency_ms"]["p50"]), False),
    "p99_ms": (lambda run: float(run["latency_ms"]["p99"]), False),
}
"""How each figure is read off a run, and whether more is better."""


def main(out: Path, quick: bool) -> None:
    rounds, seconds = (1, 2.0) if quick else (3, 2.5)
    contenders = QUICK if quick else CONTENDERS
    neighbours = _neighbours(contenders)
    folder = model_folder()
    pictures = camera_pictures(out / "peers")
    results = Results(out / "peers.json", title="General model servers, loaded alike", quick=quick)
    results.values |= {
        "model": folder.parent.name,
        "pictures": [path.name for path in pictures],
        "seconds_a_run": seconds,
        "contenders": [_described(one) for one in (_OWN, _OVERLAPPING, *contenders)],
        "runs": (runs := []),
        "not_run": (not_run := {}),
    }
    expected = _expected(folder, pictures[0])
    for number in range(rounds):
        # Each round begins elsewhere, so that none always follows the same neighbour.
        turn = number % len(neighbours)
        for beside, contender in chain(*neighbours[turn:], *neighbours[:turn]):
            if contender.label in not_run:
                continue
            try:
                with serving(
                    contender, folder, install=not quick, log=_log(out, contender)
                ) as port:
                    load = _load(contender, port, pictures=pictures, seconds=seconds)
                    _wait_until_ready(load)
                    for clients in CLIENTS:
                        run = _run(replace(load, clients=clients), expected=expected)
                        said = {"contender": contender.label, "round": number, "beside": beside}
                        runs.append(said | run)
                        results.save()
                        _say(runs[-1])
            except (PeerUnavailableError, LoadError, subprocess.SubprocessError) as error:
                not_run[contender.label] = str(error)
                print(f"   {contender.label}: {error}", flush=True)
        results.values["summary"] = summary = _summary(runs)
        results.values["ratios"] = ratios = _ratios(runs)
        results.save()
    print(table(["contender", "clients", *MEASURES], summary))
    print(table(["against", "clients", "figure", "best of theirs", "ratio", "low", "high"], ratios))


def _neighbours(contenders: Sequence[Contender]) -> list[list[tuple[str, Contender]]]:
    """What is measured one after the other: a peer's ways, after ours."""
    peers = dict.fromkeys(contender.name for contender in contenders)
    return [
        [(peer, _OWN), *((peer, one) for one in contenders if one.name == peer)] for peer in peers
    ] + [[(OURS, _OVERLAPPING)]]


def _described(contender: Contender) -> dict[str, Any]:
    described = asdict(contender)
    described["requirement"] = contender.peer.requirement if contender.peer else None
    del described["peer"], described["command"]
    return described


def _log(out: Path, contender: Contender) -> Path:
    return out / "peers" / f"{contender.label.lower().replace(' ', '-').replace(',', '')}.log"


def _load(contender: Contender, port: int, *, pictures: Sequence[Path], seconds: float) -> Load:
    return Load(
        kind="stream" if contender.streams else "http",
        port=port,
        clients=1,
        seconds=seconds,
        warmup=min(1.0, seconds / 3),
        pictures=[str(path) for path in pictures],
        path=contender.path,
        body=contender.body,
        token=TOKEN if contender.streams else "",
        in_flight=contender.in_flight,
    )


def _wait_until_ready(load: Load, *, patience: float = 90.0) -> None:
    """A listening server may still be loading its model. Raises LoadError."""
    if load.kind == "stream":
        return

    async def ask() -> None:
        client = HttpClient(load, [Path(load.pictures[0]).read_bytes()])
        await client.open()
        try:
            one_answer(load, await asyncio.wait_for(client.send(0), 30))
        finally:
            await client.close()

    deadline = time.monotonic() + patience
    while True:
        try:
            asyncio.run(ask())
        except (LoadError, OSError, EOFError, TimeoutError) as error:
            if time.monotonic() > deadline:
                raise LoadError(f"not ready after {patience:.0f} s: {error}") from error
            time.sleep(0.5)
        else:
            return


def _run(load: Load, *, expected: list[dict[str, Any]]) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks._load", json.dumps(asdict(load))]
    answer = subprocess.run(
        command, cwd=CHECKOUT, check=True, stdout=subprocess.PIPE, timeout=60 + 2 * load.seconds
    )
    measured = json.loads(answer.stdout)
    _check(measured["first_answer"], expected)
    latencies = [latency for client in measured["latencies_ms"] for latency in client]
    if not latencies:
        raise LoadError(f"no picture of {load.clients} clients was answered in {load.seconds} s")
    return {
        "clients": load.clients,
        "frames_per_second": measured["answered"] / measured["seconds"],
        "latency_ms": summarize(latencies).to_json(),
        "engine": measured["first_answer"]["engine"],
        "generator_cpu_share": measured["generator_cpu_seconds"] / measured["seconds"],
        "latencies_ms": [[round(ms, 3) for ms in client] for client in measured["latencies_ms"]],
    }


def _expected(folder: Path, picture: Path) -> list[dict[str, Any]]:
    detector = Detector.load(folder, engine="openvino")
    image = np.asarray(cv2.imread(str(picture)), np.uint8)
    return [
        {"class_id": d.class_id, "box": d.box, "confidence": d.confidence}
        for d in detector.detect([image])[0]
    ]


def _check(answer: dict[str, Any], expected: list[dict[str, Any]]) -> None:
    """The server really does the work: its first answer is what this process finds. LoadError."""
    found = answer["detections"]
    same = [d["class_id"] for d in found] == [d["class_id"] for d in expected] and all(
        np.allclose(one["box"], other["box"], atol=2)
        for one, other in zip(found, expected, strict=True)
    )
    if not same:
        raise LoadError(f"answered with other detections than this process finds: {found}")


def _say(run: dict[str, Any]) -> None:
    latency = run["latency_ms"]
    print(
        f"   {run['contender']}, {run['clients']} clients: {run['frames_per_second']:.1f} frames/s,"
        f" p50 {latency['p50']:.1f} ms, p99 {latency['p99']:.1f} ms",
        flush=True,
    )


def _summary(runs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The median round of each contender, and the lowest and highest."""
    rows = []
    for label in dict.fromkeys(run["contender"] for run in runs):
        for clients in CLIENTS:
            mine = [r for r in runs if (r["contender"], r["clients"]) == (label, clients)]
            if not mine:
                continue
            row: dict[str, Any] = {"contender": label, "clients": clients, "rounds": len(mine)}
            for name, (measure, _) in MEASURES.items():
                values = [measure(run) for run in mine]
                row[name] = float(np.median(values))
                row[f"{name}_range"] = [min(values), max(values)]
            rows.append(row)
    return rows


def _ratios(runs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Ours over the best of each peer's ways, of neighbours; below 1 is better for latencies.

    A stream's natural way has frames in flight, but one HTTP connection has one: the way with one
    frame in flight is what is compared.
    """
    rows = []
    summary = _summary(runs)
    peers = dict.fromkeys(c.name for c in CONTENDERS if c.peer is not None)
    for peer in peers:
        for clients in CLIENTS:
            theirs = [
                row
                for row in summary
                if row["clients"] == clients and row["contender"].startswith(f"{peer},")
            ]
            for name, (measure, more) in MEASURES.items():
                if not theirs:
                    continue
                ordered = sorted(theirs, key=itemgetter(name), reverse=more)
                best = ordered[0]
                quotients = [
                    measure(ours) / measure(other)
                    for ours in runs
                    for other in runs
                    if (ours["round"], ours["beside"]) == (other["round"], other["beside"])
                    and ours["clients"] == other["clients"] == clients
                    and ours["contender"] == _OWN.label
                    and other["contender"] == best["contender"]
                ]
                if quotients:
                    rows.append(
                        {
                            "against": peer,
                            "clients": clients,
                            "figure": name,
                            "best of theirs": best["contender"],
                            "ratio": float(np.median(quotients)),
                            "low": min(quotients),
                            "high": max(quotients),
                            "by_round": quotients,
                        }
                    )
    return rows
