"""The streaming lane on burstable machines: frames a second and streaming accuracy for the money.

The server is held by control groups to a machine's memory and to the processor time that AWS gives
for ever (its baseline; what is above it is bought with credits that run out). This machine's own
processor stands for theirs, whose speed differs, and t4g's is of another kind. A camera plays the
labelled clip in the clip's own time at 15 frames/s from outside the groups; the newest result that
has arrived stands for the world. Baselines and memory: AWS, EC2 User Guide, "Key concepts for
burstable performance instances"; 300 MiB of each are left to the system.
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks._inputs import labelled_clip, model_folder
from benchmarks._results import Results, table
from runtime.contract import MEMORY_MB_PER_VCPU
from visionstack.compare.cameras import Film, Trial, Wanted, play_cameras
from visionstack.compare.held import held
from visionstack.cost.bill import HOURS_A_MONTH
from visionstack.cost.prices import list_prices
from visionstack.localcloud.cpu_share import CpuShare
from visionstack.server_process import served

FPS: Final = 15.0
SYSTEM_MIB: Final = 300


@dataclass(frozen=True)
class Machine:
    """Processors for ever, and MiB."""

    name: str
    processors: float
    memory_mib: int


MACHINES: Final = (
    Machine("t2.micro", 0.1, 1024),
    Machine("t3.small", 0.4, 2048),
    Machine("t4g.small", 0.4, 2048),
    Machine("t3.large", 0.6, 8192),
    Machine("t3.xlarge", 1.6, 16384),
)
"""The share is the baseline of all their processors together: 10 % of one, 20 % of two, 30 % of
two, 40 % of four."""
WAYS: Final[dict[str, dict[str, Any]]] = {
    "every frame": {},
    "gate": {"gate": 0.002},
    "every 3rd, tracked": {"key_interval": 3},
    "every 10th, tracked": {"key_interval": 10},
}


def main(out: Path, quick: bool) -> None:
    """Write `small_machine.json` after every trial."""
    results = Results(out / "small_machine.json", title="Small machines", quick=quick)
    inputs, labels = labelled_clip()
    film = Film.of(inputs)
    folder = model_folder("yolov3-tiny")
    rows: list[dict[str, Any]] = []
    results.values |= {"labels": labels, "model": folder.parent.name, "rows": rows}
    done: dict[float, list[dict[str, Any]]] = {}
    for machine in MACHINES[:3] if quick else MACHINES:
        share = machine.processors
        # Two machines of one share differ in price alone here.
        if share not in done:
            done[share] = [
                {"processors": share, "way": way, **_row(trial)}
                for way, trial in _trials(machine, folder, film)
            ]
        month = list_prices()[machine.name].usd * HOURS_A_MONTH
        for row in done[share]:
            rows.append({"machine": machine.name, "$ a month": month, **row})
        results.values["load_average"] = os.getloadavg()
        results.save()
        print(table(rows[-len(done[share]) :]), flush=True)


def _trials(machine: Machine, folder: Path, film: Film) -> list[tuple[str, Trial]]:
    wanted = Wanted(fps=FPS, within_s=1.0, accuracy=0.0)
    found = []
    with (
        held(None, machine.memory_mib - SYSTEM_MIB) as prefix,
        CpuShare(f"visionstack-small-{os.getpid()}") as share,
        served(folder, prefix=prefix) as endpoint,
    ):
        # Loading would take minutes of a tenth of a processor; on AWS it has credits for it.
        play_cameras(endpoint, _beginning(film, seconds=2), 1, wanted=wanted)
        pids = map(int, Path(prefix[-1]).read_text().split())
        share.give(round(machine.processors * MEMORY_MB_PER_VCPU), to=list(pids))
        for way, options in WAYS.items():
            found.append((way, play_cameras(endpoint, film, 1, wanted=wanted, **options)))
    return found


def _beginning(film: Film, *, seconds: float) -> Film:
    return Film(
        inputs=film.inputs, pictures=film.pictures[: round(seconds * film.rate)], rate=film.rate
    )


def _row(trial: Trial) -> dict[str, Any]:
    known = asdict(trial)
    return {
        "frames/s": known["rate"],
        "within 1 s": known["in_time"],
        "p99 s": known["p99_s"],
        "AP50": known["accuracy"],
    }
