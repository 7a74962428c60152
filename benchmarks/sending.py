"""Three ways of sending a camera's frames, over short and long ways: the streaming paper's claim.

One HTTP request an image (on a new connection each, and on a kept one), collecting a clip and
uploading it, and streaming; each over TLS to the same decoding, engine and suppression, through two
network namespaces whose round trip takes 1, 20, 50 and 100 ms (`benchmarks._link` says how). The
delay runs from a frame's capture to its result. What each way knew at each labelled frame of the
clip is scored as `visionstack accuracy --stream` does (`benchmarks._sending_accuracy`). Client,
servers and the way itself share one machine's processors, the bandwidth is not limited, and rounds
are interleaved.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks._inputs import CLIP, CLIP_SIZE, jpeg, model_folder
from benchmarks._link import FAR_ADDRESS, Link, LinkUnavailableError
from benchmarks._peers.pipeline import Configuration
from benchmarks._peers.servers import TOKEN, running
from benchmarks._results import Results, table
from benchmarks._sending_accuracy import Scene
from runtime.inference.engines.processor import usable_processors
from runtime.measurement.statistics import percentile, summarize
from visionstack.accuracy.inputs import read_clip
from visionstack.paths import IMPORT_ROOT
from visionstack.server_process import Served, served

_TITLE = "Three ways of sending"
ROUND_TRIPS_MS = (1, 20, 50, 100)
FPS = 15.0
SIZE = (640, 480)
CLIP_SECONDS = 2.0
WARMUP_SECONDS = 2.0
WAYS = {
    "request": "one request an image, new connection each",
    "kept": "one request an image, kept connection",
    "clip": f"clips of {CLIP_SECONDS:g} s, uploaded",
    "stream": "streaming",
}


_HTTP_PORT = 7080


def main(out: Path, quick: bool) -> None:
    try:
        with Link() as link:
            _measure(link, out, quick)
    except LinkUnavailableError as error:
        results = Results(out / "sending.json", title=_TITLE, quick=quick)
        results.values["not_run"] = str(error)
        results.save()
        print(f"   not run: {error}", flush=True)


def _measure(link: Link, out: Path, quick: bool) -> None:
    rounds = 1 if quick else 2
    round_trips = (1, 50) if quick else ROUND_TRIPS_MS
    folder = model_folder()
    pictures = _pictures(out / "sending")
    seconds = len(pictures) / FPS - WARMUP_SECONDS  # the clip is shown once
    scene = Scene(folder, pictures, scale=CLIP_SIZE[0] / SIZE[0])
    results = Results(out / "sending.json", title=_TITLE, quick=quick)
    results.values |= {
        "model": folder.parent.name,
        "ways": WAYS,
        "camera": {
            "fps": FPS,
            "frames": len(pictures),
            "bytes": [p.stat().st_size for p in pictures],
        },
        "seconds_a_run": seconds,
        "labels": scene.labels,
        "runs": (runs := []),
    }
    results.values["delay_made_by"] = link.kind
    with ExitStack() as servers:
        link.set_round_trip(0)
        servers.enter_context(_http_server(link, folder, log=out / "sending" / "http.log"))
        stream = servers.enter_context(
            served(
                folder,
                engine="openvino",
                host=FAR_ADDRESS,
                prefix=link.command(link.far, []),
                token=TOKEN,
            )
        )
        for number in range(rounds):
            for round_trip in round_trips:
                link.set_round_trip(round_trip)
                time.sleep(0.3)
                found = _measure_round_trip(link)
                for way in WAYS:
                    run = _run(link, way, stream, pictures=pictures, seconds=seconds)
                    said = {"round": number, "way": way, "round_trip_ms": round_trip}
                    runs.append(said | {"round_trips_found_ms": found} | run)
                    results.save()
                    _say(runs[-1])
    results.values["summary"] = summary = _summary(runs, scene)
    results.save()
    columns = ["way", "round_trip_ms", "p50_ms", "p99_ms", "frames_per_second"]
    shown = [row | {"AP50": _told(row["AP50"])} for row in summary]
    print(table(shown, [*columns, "kilobytes_per_second", "AP50"]))


def _pictures(folder: Path) -> list[Path]:
    """The clip's frames as a 640x480 camera sends them."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for number, frame in enumerate(read_clip(CLIP)):
        path = folder / f"{number:03d}.jpg"
        small = cv2.resize(frame, SIZE, interpolation=cv2.INTER_AREA)
        path.write_bytes(jpeg(np.asarray(small, np.uint8), quality=80))
        written.append(path)
    return written


def _http_server(link: Link, model: Path, *, log: Path) -> AbstractContextManager[None]:
    return running(
        link.command(link.far, [sys.executable, "-m", "benchmarks._sending_server"]),
        Configuration(
            model=str(model), port=_HTTP_PORT, workers=1, threads=usable_processors(), batch=1
        ),
        log=log,
        listens=lambda: bool(_connect_times_ms(link, times=1)),
    )


_CONNECT = """
import socket, sys, time
for _ in range(int(sys.argv[3])):
    began = time.perf_counter()
    socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=5).close()
    print((time.perf_counter() - began) * 1000)
"""


def _connect_times_ms(link: Link, *, times: int) -> list[float]:
    """A TCP handshake takes the client one round trip. Empty when nothing listens."""
    command = [sys.executable, "-c", _CONNECT, FAR_ADDRESS, str(_HTTP_PORT), str(times)]
    answer = subprocess.run(
        link.command(link.near, command), capture_output=True, text=True, check=False
    )
    return [float(line) for line in answer.stdout.split()] if answer.returncode == 0 else []


def _measure_round_trip(link: Link) -> list[float]:
    return [round(ms, 3) for ms in _connect_times_ms(link, times=7)[1:]]


def _run(
    link: Link, way: str, stream: Served, *, pictures: Sequence[Path], seconds: float
) -> dict[str, Any]:
    sending = {
        "way": way,
        "host": FAR_ADDRESS,
        "port": stream.port if way == "stream" else _HTTP_PORT,
        "fingerprint": stream.fingerprint,
        "frames": [str(path) for path in pictures],
        "fps": FPS,
        "seconds": seconds,
        "warmup": WARMUP_SECONDS,
        "clip_seconds": CLIP_SECONDS,
    }
    command = [sys.executable, "-m", "benchmarks._sending_client", json.dumps(sending)]
    answer = subprocess.run(
        link.command(link.near, command),
        cwd=IMPORT_ROOT,
        check=True,
        stdout=subprocess.PIPE,
        timeout=120 + 10 * seconds,
    )
    sent = json.loads(answer.stdout)
    delays = [delay for _, delay in sent["delays_ms"]]
    return {
        "captured": sent["captured"],
        "answered": len(delays),
        "frames_per_second": len(delays) / seconds,
        "delay_ms": summarize(delays).to_json(),
        "delays_ms": sent["delays_ms"],
        "kilobytes_per_second": sum(
            pictures[number % len(pictures)].stat().st_size for number, _ in sent["delays_ms"]
        )
        / 1000
        / seconds,
    }


def _say(run: dict[str, Any]) -> None:
    delay = run["delay_ms"]
    print(
        f"   {run['round_trip_ms']} ms, {WAYS[run['way']]}: p50 {delay['p50']:.0f} ms, "
        f"p99 {delay['p99']:.0f} ms, {run['frames_per_second']:.1f} of {FPS:g} frames/s",
        flush=True,
    )


def _summary(runs: Sequence[dict[str, Any]], scene: Scene) -> list[dict[str, Any]]:
    rows = []
    for way in WAYS:
        for round_trip in ROUND_TRIPS_MS:
            mine = [r for r in runs if (r["way"], r["round_trip_ms"]) == (way, round_trip)]
            if not mine:
                continue
            delays = [delay for run in mine for _, delay in run["delays_ms"]]
            rates = [run["frames_per_second"] for run in mine]
            p50s = [run["delay_ms"]["p50"] for run in mine]
            rows.append(
                {
                    "way": way,
                    "round_trip_ms": round_trip,
                    "rounds": len(mine),
                    "samples": len(delays),
                    "p50_ms": percentile(delays, 50),
                    "p50_by_round_ms": p50s,
                    "p99_ms": percentile(delays, 99),
                    "frames_per_second": float(np.median(rates)),
                    "frames_per_second_by_round": rates,
                    "kilobytes_per_second": float(
                        np.median([run["kilobytes_per_second"] for run in mine])
                    ),
                    "AP50": scene.score(mine, fps=FPS, warmup=WARMUP_SECONDS).to_json(),
                }
            )
    return rows


def _told(ap50: dict[str, Any]) -> str:
    spread = f" ({ap50['low']:.3f} to {ap50['high']:.3f})" if "low" in ap50 else ""
    return f"{ap50['value']:.3f}{spread}"
