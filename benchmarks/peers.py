"""The streaming server against LitServe, Ray Serve, BentoML and Triton: frames/s and latency.

All serve the same ONNX file with OpenVINO and this project's own decoding, letterboxing and
suppression, on loopback without TLS, and are loaded by the same separate process with the same
640x480 JPEG pictures, by 1, 4 and 16 clients. The engine has as many threads as the machine has
processors, in one worker or shared by two. A peer stands with each of the ways its documentation
recommends, and is compared by the one that does best at the figure in question. The machine's speed
drifts by more than the servers differ, so ours runs beside each of theirs and the two are loaded in
turns of seconds, one while the other idles. A figure is that of all turns' samples together, and a
ratio's 95 % interval comes of drawing turns anew (percentile bootstrap): samples of one turn share
its weather, so that turns and not samples are what is independent.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import asdict, replace
from itertools import chain, product
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks._inputs import camera_pictures, model_folder
from benchmarks._load import HttpConnection, Load, LoadError, one_answer, request_of
from benchmarks._peers.environments import Peer, PeerUnavailableError
from benchmarks._peers.servers import TOKEN, Contender, serving
from benchmarks._results import Results, table
from runtime.inference.detector import Detector
from runtime.inference.engines.processor import usable_processors
from runtime.measurement.statistics import summarize
from visionstack.paths import IMPORT_ROOT

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

_OWN = Contender(name=OURS, setup="one frame in flight", peer=None)
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
        *("--host", "127.0.0.1", "--port", "{port}", "--working-dir", str(IMPORT_ROOT)),
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
FOREMOST = (_LITSERVE, CONTENDERS[2], _RAY, _BENTOML, _TRITON)
"""What did best in full runs: measured more often, each time with servers started anew."""

Run = dict[str, Any]


def _frames_per_second(runs: Sequence[Run]) -> float:
    return float(np.mean([run["frames_per_second"] for run in runs]))


def _latency(percentile: float) -> Callable[[Sequence[Run]], float]:
    def of(runs: Sequence[Run]) -> float:
        samples = chain.from_iterable(chain.from_iterable(run["latencies_ms"] for run in runs))
        return float(np.percentile(np.fromiter(samples, np.float64), percentile))

    return of


MEASURES: dict[str, tuple[Callable[[Sequence[Run]], float], bool]] = {
    "frames_per_second": (_frames_per_second, True),
    "p50_ms": (_latency(50), False),
    "p99_ms": (_latency(99), False),
}
"""How each figure is read off several runs of equal length, and whether more is better."""
_SECONDS = 2.5
_PATIENCE_SECONDS = 90
_RESAMPLES = 300


def main(out: Path, quick: bool) -> None:
    every, foremost = (*CONTENDERS, _OVERLAPPING), (*FOREMOST, _OVERLAPPING)
    passes = [(foremost, 1)] if quick else [(every, 3), (FOREMOST, 4), (FOREMOST, 4)]
    folder = model_folder()
    pictures = camera_pictures(out / "peers")
    results = Results(out / "peers.json", title="General model servers, loaded alike", quick=quick)
    results.values |= {
        "model": folder.parent.name,
        "pictures": [path.name for path in pictures],
        "seconds_a_run": _SECONDS,
        "contenders": [_described(one) for one in (_OWN, *passes[0][0])],
        "runs": (runs := []),
        "not_run": (not_run := {}),
    }
    expected = _expected(folder, pictures[0])

    def serve(contender: Contender) -> AbstractContextManager[int]:
        return serving(contender, folder, install=not quick, log=_log(out, contender))

    for number, (contenders, turns) in enumerate(passes):
        for contender in contenders:
            if contender.label in not_run:
                continue
            try:
                with serve(contender) as port, serve(_OWN) as own_port:
                    pair = [(_OWN, own_port), (contender, port)]
                    loads = {one.label: _load(one, at, pictures=pictures) for one, at in pair}
                    for run in _in_turns(loads, turns=turns, expected=expected):
                        runs.append(run | {"pass": number, "beside": contender.label})
                        results.save()
                        _say(run)
            except (PeerUnavailableError, LoadError, subprocess.SubprocessError) as error:
                not_run[contender.label] = str(error)
                print(f"   {contender.label}: {error}", flush=True)
    results.values["summary"] = summary = _summary(runs)
    results.values["ratios"] = ratios = _ratios(runs)
    results.save()
    print(table(summary, ["contender", "clients", *MEASURES]))
    print(table(ratios, ["against", "clients", "figure", "best of theirs", "ratio", "low", "high"]))


def _in_turns(
    loads: Mapping[str, Load], *, turns: int, expected: list[dict[str, Any]]
) -> Iterator[Run]:
    """Load the servers one after the other, `turns` times with each number of clients."""
    for load in loads.values():
        _wait_until_ready(load)
    for clients, turn in product(CLIENTS, range(turns)):
        # Who follows whom changes, too.
        for label in list(loads)[:: 1 if turn % 2 else -1]:
            run = _run(replace(loads[label], clients=clients), expected=expected)
            yield {"contender": label, "turn": turn} | run


def _described(contender: Contender) -> dict[str, Any]:
    described = asdict(contender)
    described["requirement"] = contender.peer.requirement if contender.peer else None
    del described["peer"], described["command"]
    return described


def _log(out: Path, contender: Contender) -> Path:
    return out / "peers" / f"{contender.label.lower().replace(' ', '-').replace(',', '')}.log"


def _load(contender: Contender, port: int, *, pictures: Sequence[Path]) -> Load:
    return Load(
        kind="stream" if contender.streams else "http",
        port=port,
        clients=1,
        seconds=_SECONDS,
        warmup=0.5,
        pictures=[str(path) for path in pictures],
        path=contender.path,
        body=contender.body,
        token=TOKEN if contender.streams else "",
        in_flight=contender.in_flight,
    )


def _wait_until_ready(load: Load) -> None:
    """A listening server may still be loading its model. Raises LoadError."""
    if load.kind == "stream":
        return

    async def ask() -> None:
        request = request_of(load, Path(load.pictures[0]).read_bytes())
        with closing(HttpConnection(load.host, load.port)) as connection:
            one_answer(load, await asyncio.wait_for(connection.send(request), 30))

    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            asyncio.run(ask())
        except (LoadError, OSError, EOFError, TimeoutError) as error:
            if time.monotonic() > deadline:
                raise LoadError(f"not ready after {_PATIENCE_SECONDS} s: {error}") from error
            time.sleep(0.5)
        else:
            return


def _run(load: Load, *, expected: list[dict[str, Any]]) -> Run:
    command = [sys.executable, "-m", "benchmarks._load", json.dumps(asdict(load))]
    answer = subprocess.run(
        command, cwd=IMPORT_ROOT, check=True, stdout=subprocess.PIPE, timeout=60 + 2 * load.seconds
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


def _say(run: Run) -> None:
    latency = run["latency_ms"]
    print(
        f"   {run['contender']}, {run['clients']} clients: {run['frames_per_second']:.1f} frames/s,"
        f" p50 {latency['p50']:.1f} ms, p99 {latency['p99']:.1f} ms",
        flush=True,
    )


def _summary(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Each contender over all turns, and its lowest and highest turn."""
    rows = []
    for label, clients in product(dict.fromkeys(run["contender"] for run in runs), CLIENTS):
        mine = [run for run in runs if (run["contender"], run["clients"]) == (label, clients)]
        if not mine:
            continue
        row: dict[str, Any] = {"contender": label, "clients": clients, "turns": len(mine)}
        for name, (measure, _) in MEASURES.items():
            row[name] = measure(mine)
            single = [measure([run]) for run in mine]
            row[f"{name}_range"] = [min(single), max(single)]
        rows.append(row)
    return rows


def _ratios(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Ours over theirs, against the way of each peer that comes off best; below 1 is better for
    latencies.

    A stream's natural way has frames in flight, but one HTTP connection has one: the way with one
    frame in flight is what is compared.
    """
    rows = []
    for (peer, ways), clients, (name, (measure, more)) in product(
        _ways().items(), CLIENTS, MEASURES.items()
    ):
        against = {
            way: _ratio(turns, measure) for way in ways if (turns := _turns(runs, way, clients))
        }
        if not against:
            continue
        worst = min if more else max
        best = worst(against, key=lambda way: against[way]["ratio"])
        row = {"against": peer, "clients": clients, "figure": name, "best of theirs": best}
        rows.append(row | against[best])
    return rows


def _ways() -> dict[str, list[str]]:
    """The labels of each peer's ways."""
    ways: dict[str, list[str]] = {}
    for contender in CONTENDERS:
        ways.setdefault(contender.name, []).append(contender.label)
    return ways


def _turns(runs: Sequence[Run], way: str, clients: int) -> list[tuple[Run, Run]]:
    """Ours and theirs, turn by turn."""
    turns: dict[tuple[int, int], dict[str, Run]] = {}
    for run in runs:
        if (run["beside"], run["clients"]) == (way, clients):
            turns.setdefault((run["pass"], run["turn"]), {})[run["contender"]] = run
    return [(turn[_OWN.label], turn[way]) for turn in turns.values() if len(turn) == 2]


def _ratio(
    turns: Sequence[tuple[Run, Run]], measure: Callable[[Sequence[Run]], float]
) -> dict[str, Any]:
    def of(chosen: Iterable[int]) -> float:
        ours, theirs = zip(*(turns[index] for index in chosen), strict=True)
        return measure(ours) / measure(theirs)

    generator = np.random.default_rng(0)
    drawn = [of(generator.integers(len(turns), size=len(turns))) for _ in range(_RESAMPLES)]
    return {
        "ratio": of(range(len(turns))),
        "low": float(np.percentile(drawn, 2.5)),
        "high": float(np.percentile(drawn, 97.5)),
        "by_turn": [of([turn]) for turn in range(len(turns))],
    }
