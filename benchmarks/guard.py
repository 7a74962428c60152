"""The ratios that must not get worse, measured briefly and set against the recorded ones.

`make bench-guard` writes `guard.json` in less than three minutes; nothing fails by it. A ratio is
worse when its whole interval lies above all that was recorded. Each compares two things on one
machine in rounds that take turns, so a slow or busy machine moves it little; another kind of
processor moves it all the same, so the report says which one was recorded.

`python -m benchmarks.guard --record 5` measures so often and records the widest interval: run it on
a quiet machine, and look at what it changed in `guard_recorded.json` before committing that.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, TypedDict

from benchmarks._guard_stream import bytes_on_the_wire, medians
from benchmarks._results import Results, own_options, table
from benchmarks._serverless_cold import INTERPRETER, built_package, file_server, live
from runtime.measurement import machine
from runtime.measurement.statistics import ratio, summarize
from visionstack.deploy.local import build_model

RECORDED: Final = Path(__file__).with_name("guard_recorded.json")
MODEL: Final = "resnet50"
COLD_ROUNDS, COLD_SECONDS = 15, 40.0
FEWEST_ROUNDS: Final = 3
WARM_CALLS: Final = 20
NEGLIGIBLE: Final = 1.02
"""A ratio that moved by less is not worse."""
_FLOOR: Final = """
import sys, time
sys.path.insert(0, sys.argv[2])
import numpy, onnxruntime, PIL.Image
print(time.monotonic() - float(sys.argv[1]))
"""


class Spread(TypedDict):
    """A ratio and its 95 % interval (or, of few values, the least and the largest)."""

    value: float
    low: float
    high: float


def main(out: Path, quick: bool) -> None:
    """Write `guard.json` into `out`; a part that fails is named there, and the others go on."""
    # So that a time limit's signal ends what was started here too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    results = Results(out / "guard.json", title="What must not get worse", quick=quick)
    values = results.values
    values |= {"ratios": {}, "cold_start_s": None, "samples": {}, "failed": {}}
    recorded = json.loads(RECORDED.read_text("utf-8"))
    values["recorded_on"] = recorded["processor"]
    for part in (serverless, streaming):
        try:
            found = part(values)
        except Exception as error:  # a report, of which the rest is still worth having
            traceback.print_exc()
            values["failed"][part.__name__] = f"{type(error).__name__}: {error}"
            found = {}
        for name, one in found.items():
            values["ratios"][name] = judged(one, recorded["ratios"].get(name))
        results.save()
    _show(values)


def judged(found: Spread, known: Spread | None) -> dict[str, Any]:
    """A ratio with what was recorded of it; lower is better."""
    if known is None:
        return {**found, "recorded": None, "worse": False}
    return {
        **found,
        "recorded": known["value"],
        "recorded_low": known["low"],
        "recorded_high": known["high"],
        "worse": found["low"] > known["high"] * NEGLIGIBLE,
    }


def serverless(values: dict[str, Any]) -> dict[str, Spread]:
    """ResNet50's first answer over the imports alone; a warm call over decoding and session."""
    build_model(MODEL, random=True)
    package = built_package("auto", MODEL)
    first, floor = [], []
    with file_server() as endpoint:

        def start() -> None:
            floor.append(_import_floor(package))
            life = live(package, model=MODEL, endpoint=endpoint, warm_calls=0)
            first.append(life["marks_s"]["first_answer"])

        _rounds(start)
        life = live(package, model=MODEL, endpoint=endpoint, warm_calls=WARM_CALLS)
    fetched = zip(life["handler_s"], life["fetch_s"], strict=True)
    handler = [whole - fetch for whole, fetch in fetched]
    values["samples"] |= {"first_answer_s": first, "import_floor_s": floor}
    values["samples"] |= {"handler_s": handler, "decode_and_session_s": life["bare_s"]}
    values["cold_start_s"] = {"p50": summarize(first).p50, "n": len(first)}
    return {
        "cold_start_over_import_floor": _paired(first, floor),
        "handler_over_session": _paired(handler, life["bare_s"]),
    }


def streaming(values: dict[str, Any]) -> dict[str, Spread]:
    """A streamed frame over the loop's, one in flight; all bytes sent and received, a picture's."""
    streamed, loop = medians()
    values["samples"] |= {"streamed_p50_ms": streamed, "loop_p50_ms": loop}
    moved, pictures = bytes_on_the_wire()
    values["samples"] |= {"moved_bytes": moved, "picture_bytes": pictures}
    shares = [one / sum(pictures) for one in moved]
    return {
        "streamed_over_loop": _paired(streamed, loop),
        "bytes_on_the_wire": Spread(value=summarize(shares).p50, low=min(shares), high=max(shares)),
    }


def _rounds(one: Callable[[], None]) -> None:
    """The first round brings the files into memory; a slow machine gets fewer."""
    until = time.monotonic() + COLD_SECONDS
    for number in range(COLD_ROUNDS):
        if number >= FEWEST_ROUNDS and time.monotonic() > until:
            return
        one()


def _import_floor(package: Path) -> float:
    command = [*INTERPRETER, "-c", _FLOOR, str(time.monotonic()), str(package)]
    environment = {"PYTHONDONTWRITEBYTECODE": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    return float(done.stdout)


def _paired(above: Sequence[float], below: Sequence[float]) -> Spread:
    """Median and interval of the ratios of what was measured right after each other."""
    ratios = [one / other for one, other in zip(above, below, strict=True)]
    found = ratio(ratios, [1.0])
    return Spread(value=found.value, low=found.low, high=found.high)


def _processor() -> str:
    here = machine.describe()
    return ", ".join([here.cpu, f"{here.cores} processors", " ".join(here.features)])


def _show(values: dict[str, Any]) -> None:
    rows = [
        {
            "ratio (lower is better)": name,
            **{
                key: "-" if found[key] is None else f"{found[key]:.3f}"
                for key in ("value", "low", "high", "recorded")
            },
            "": "WORSE" if found["worse"] else "",
        }
        for name, found in values["ratios"].items()
    ]
    if rows:
        print(table(rows))
    here = _processor()
    if here != values["recorded_on"]:
        print(f"recorded on {values['recorded_on']}, measured on {here}: ratios may differ by that")
    for name, reason in values["failed"].items():
        print(f"not measured: {name} ({reason})")


def record(times: int, out: Path) -> None:
    """Measure so often and write the widest interval of each ratio to `RECORDED`."""
    runs = []
    for _ in range(times):
        main(out, quick=False)
        runs.append(json.loads((out / "guard.json").read_text("utf-8")))
    ratios = {
        name: {
            "value": summarize([run["ratios"][name]["value"] for run in runs]).p50,
            "low": min(run["ratios"][name]["low"] for run in runs),
            "high": max(run["ratios"][name]["high"] for run in runs),
        }
        for name in runs[0]["ratios"]
    }
    document = {"processor": _processor(), "runs": times, "ratios": ratios}
    RECORDED.write_text(json.dumps(document, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    parser = own_options(__doc__)
    parser.add_argument("--record", type=int, required=True, metavar="TIMES")
    arguments = parser.parse_args()
    record(arguments.record, arguments.out)
