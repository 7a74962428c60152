"""What more cameras cost: answers, times, drops and dollars, and the simulation beside them.

Servers with a processor each (by affinity; a server sees no other) behind the embedded cloud's TCP
balancer; live cameras at one frame a second of the sample clip, 1 to 64 of them and around the
number that one full stream predicts, which is what `visionstack compare cameras` predicts by.
Server and cameras share this machine: what the cameras take is in the JSON. More servers than
processors share them in turn, which shows the balancer's and the scheduler's part, no more speed.

The simulation is given what each step took with one number of cameras on one server, and what
share of a processor other programs left to each server, and nothing else. Stretches in which they
took more than a few tenths are run again, and do not count.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import re
import secrets
import shutil
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from statistics import fmean, median
from typing import Any, Final
from urllib.parse import urlsplit

import psutil

from benchmarks import _growth_tables as tables
from benchmarks._cameras import Played, play
from benchmarks._growth_tables import FPS, INSTANCE
from benchmarks._inputs import CLIP, model_folder
from benchmarks._results import Results, table
from runtime.measurement.statistics import percentile
from visionstack.accuracy.inputs import open_inputs
from visionstack.compare.cameras import Film, measure_single
from visionstack.localcloud.agent.balancer import HOST, Balancer
from visionstack.paths import SAMPLES
from visionstack.server_process import Served, served
from visionstack.stream.types import StreamAddress

COUNTS: Final = (1, 4, 16, 64)
PRECISION: Final = "fp32"
"""What every processor computes; where one has AMX, `auto` is several times as fast."""
THROUGHPUT_BAND: Final = 0.25
P50_BAND: Final = 0.15
P99_BAND: Final = 0.1
"""How far the simulation may be from what was measured beyond the limit, as a share of that."""
QUIET: Final = 0.7
"""Share of their processors that servers must have had or left idle for a stretch to count: below,
other programs were measured. It is known without looking at any answer."""
_TRIES: Final = 2
_BUDGET_S: Final = 240.0
_BUSY: Final = re.compile(r"^visionstack_stream_engine_busy_seconds_total\{[^}]*\} (\S+)$", re.M)


def main(out: Path, quick: bool) -> None:
    """Write `growth.json` after every stretch of cameras."""
    processors = sorted(os.sched_getaffinity(0))
    if len(processors) < 2 or shutil.which("taskset") is None:
        raise RuntimeError("growth needs two processors and taskset (Debian: util-linux)")
    results = Results(out / "growth.json", title="Growth", quick=quick)
    labels = SAMPLES / "ground_truth_pedestrians.json"
    film = Film.of(open_inputs(CLIP, labels=labels))
    sizes = [1, 2] if quick or len(processors) < 4 else [1, 2, 4]
    rounds, seconds = (1, 3.0) if quick else (2, 6.0)
    ends = time.monotonic() + (25.0 if quick else _BUDGET_S)
    stretches: list[dict[str, Any]] = []
    with servers(max(sizes) if quick else 4, processors) as fleet:
        alone = [_full_stream(fleet[0], film, seconds=2 if quick else 4) for _ in range(rounds)]
        full = median(one["answers_a_processor_second"] for one in alone)
        results.values |= {
            "fps": FPS,
            "seconds": seconds,
            "instance": INSTANCE,
            "frame_bytes": fmean(len(picture.data) for picture in film.pictures),
            "one_full_stream": alone,
            "stretches": stretches,
        }
        plan = [(size, count) for size in sizes for count in _counts(full * size, quick=quick)]
        if not quick and 4 not in sizes:
            plan += [(4, 16), (4, 64)]
        for _ in range(rounds):
            for size, cameras in sorted(plan, key=lambda one: one[1]):
                for _ in range(_TRIES):
                    if time.monotonic() > ends:
                        break
                    one = _stretch(fleet[:size], film, cameras=cameras, seconds=seconds)
                    stretches.append(one)
                    results.save()
                    if one["processors_open"] >= QUIET:
                        break
    results.values["counted"] = counted(results.values)
    results.save()
    _show(results.values)


def record(run: Path) -> None:
    """Put what docs/scale.md and a test go by into `RECORDED`."""
    known = counted(json.loads(run.read_text("utf-8")))
    tables.RECORDED.write_text(json.dumps(known, ensure_ascii=False, indent=1) + "\n", "utf-8")


def counted(measured: dict[str, Any]) -> dict[str, Any]:
    """What the stretches that count say: what each step took, and what came of them."""
    stretches = [one for one in measured["stretches"] if one["processors_open"] >= QUIET]
    names = ("machine", "versions", "started", "frame_bytes", "fps")
    full = _full(measured)
    return {
        **{name: measured[name] for name in names},
        "full": full,
        "times": _steps_in_use(stretches, predicted=full),
        "stretches": [_short(one, seconds=measured["seconds"]) for one in stretches],
    }


def _short(one: dict[str, Any], *, seconds: float) -> dict[str, Any]:
    got = asdict(tables.got(one["answers"], end=seconds))
    names = ("servers", "cameras", "servers_cpu_s", "load_average")
    return {
        **{name: one[name] for name in names},
        **{name: None if math.isnan(value) else value for name, value in got.items()},
        "seconds": seconds,
        "answers": sum(map(len, one["answers"])),
    }


def _counts(predicted: float, *, quick: bool) -> list[int]:
    near = [] if quick else [0.7 * predicted, predicted, 1.25 * predicted]
    return sorted({*COUNTS, *(max(1, round(one)) for one in near)})


@contextmanager
def servers(number: int, processors: Sequence[int]) -> Iterator[list[Served]]:
    """So many of one token, each on the next processor."""
    folder, token = model_folder(), secrets.token_urlsafe(32)
    with ExitStack() as stack:
        yield [
            stack.enter_context(
                served(
                    folder,
                    precision=PRECISION,
                    prefix=["taskset", "-c", str(processors[one % len(processors)])],
                    token=token,
                )
            )
            for one in range(number)
        ]


def _stretch(
    fleet: Sequence[Served], film: Film, *, cameras: int, seconds: float
) -> dict[str, Any]:
    used = sorted(os.sched_getaffinity(0))[: len(fleet)]
    before, had, idle = [engine_busy(one) for one in fleet], _processor_time(fleet), _idle(used)
    began = time.monotonic()
    played = asyncio.run(_behind_balancer(fleet, film, cameras=cameras, seconds=seconds))
    took = time.monotonic() - began
    had, idle = _processor_time(fleet) - had, _idle(used) - idle
    after = [engine_busy(one) for one in fleet]
    return {
        "servers": len(fleet),
        "cameras": cameras,
        "engine_busy": [(b - a) / took for a, b in zip(before, after, strict=True)],
        "servers_cpu_s": had,
        "took_s": took,
        "processors_open": min(1.0, (had + idle) / took / len(used)),
        "processors_each": min(1.0, len(used) / len(fleet)),
        "load_average": os.getloadavg()[0],
        **asdict(played),
    }


def _full_stream(server: Served, film: Film, *, seconds: float) -> dict[str, float]:
    """As `visionstack compare cameras` predicts by, and for each second of processor time."""
    had = _processor_time([server])
    single = measure_single(server, film, seconds=seconds)
    had = _processor_time([server]) - had
    answers = 3 + single.one_by_one * seconds / 2 + single.full * seconds
    return {**asdict(single), "answers_a_processor_second": answers / had}


def _idle(processors: Sequence[int]) -> float:
    """Seconds for which those had nothing to do so far."""
    times = psutil.cpu_times(percpu=True)
    return sum(float(times[one].idle + times[one].iowait) for one in processors)


def _processor_time(fleet: Sequence[Served]) -> float:
    """Seconds that the servers have had so far: on a shared machine less than they could use."""
    times = [psutil.Process(one.pid).cpu_times() for one in fleet]
    return sum(float(one.user + one.system) for one in times)


async def _behind_balancer(
    fleet: Sequence[Served], film: Film, *, cameras: int, seconds: float
) -> Played:
    balancer = Balancer(lambda: [one.port for one in fleet])
    await balancer.start()
    try:
        address = StreamAddress(HOST, balancer.port, fleet[0].token)
        return await play(address, film.pictures, cameras=cameras, fps=FPS, seconds=seconds)
    finally:
        balancer.close()


def engine_busy(server: Served) -> float:
    """Seconds for which the server's engine has inferred so far, as it publishes them."""
    where = urlsplit(server.page)
    with urllib.request.urlopen(f"http://{where.netloc}/metrics", timeout=10) as answer:
        found = _BUSY.search(answer.read().decode())
    return float(found[1]) if found else 0.0


def _full(values: dict[str, Any]) -> float:
    """Cameras of one server by its one full stream; 0 where none was measured."""
    full = [one["answers_a_processor_second"] for one in values["one_full_stream"]]
    return median(full) / FPS if full else 0.0


def _steps_in_use(
    stretches: Sequence[dict[str, Any]], *, predicted: float
) -> dict[str, list[float]]:
    """What each step of a frame took on one server in good use, but for what others took.

    Of the most cameras below 0.8 of those predicted: with fewer, a processor that has slept takes
    up to twice as long for the same work, and with more, steps wait for each other. A machine that
    others use too makes steps longer than the work in them. The server's processor time for each
    answer is that work: steps are shortened in proportion until their mean is it.
    """
    below = [one for one in stretches if one["servers"] == 1 and one["cameras"] <= 0.8 * predicted]
    most = max((one["cameras"] for one in below), default=0)
    alone = [one for one in below if one["cameras"] == most]
    steps = [step for one in alone for step in one["steps"]]
    if not steps:
        return {}
    work = sum(one["servers_cpu_s"] for one in alone) / len(steps)
    names = ("decode", "inference", "finish")
    factor = min(1.0, work / fmean(sum(step[name] for name in names) for step in steps))
    times = {name: [factor * step[name] for step in steps] for name in names}
    return {**times, "around": [step["around"] for step in steps]}


def _show(values: dict[str, Any]) -> None:
    every = [
        {
            "servers": one["servers"],
            "cameras": one["cameras"],
            "open": one["processors_open"],
            "answers": sum(map(len, one["answers"])),
            "a processor second": sum(map(len, one["answers"])) / one["servers_cpu_s"],
        }
        for one in values["stretches"]
    ]
    print(table(every))
    known = values["counted"]
    if not known["times"]:
        print(
            f"No time on the clock is shown: other programs left less than {QUIET:.0%} of the "
            "servers' processors in each stretch with one camera. Run it on a quieter machine."
        )
        return
    for rows in (tables.measured(known), tables.most(known), tables.foretold(known)):
        if rows:
            print(table(rows))
    steps = {name: f"{1000 * percentile(one, 50):.1f}" for name, one in known["times"].items()}
    print(f"one server in good use, ms: {steps}")
