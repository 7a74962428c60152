"""What a GPU does with the detectors, in one command and less than eight minutes: `make gpu-check`.

It needs torch, NumPy, OpenCV, ONNX, ONNX Runtime, Pillow and psutil, and no network. Each part runs
in a process of its own against a time limit and is saved as it ends, so that a GPU that hangs costs
that part alone. On a machine without a GPU the same parts run on its CPU, so that they are known to
work. Where no artifact is built, yolov3-tiny's network gets random weights, which take the same
time; boxes are then compared at a low confidence.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from benchmarks._gpu_given import artifact
from benchmarks._gpu_network import compiled, kernels, limit, reload, start
from benchmarks._gpu_pictures import accuracy, latency, streams
from benchmarks._results import Results, table

MARK: Final = "RESULT"
DEADLINE_SECONDS: Final = 450.0


def main(out: Path, quick: bool) -> None:
    """Write `gpu_check.json` after every part."""
    results = Results(out / "gpu_check.json", title="What a GPU does", quick=quick)
    until = time.monotonic() + DEADLINE_SECONDS
    for name, (_, longest) in PARTS.items():
        left = until - time.monotonic()
        found = _in_a_process(name, quick=quick, seconds=min(longest, left))
        results.values[name] = found
        results.save()
        rows = found.get("shown") or [{"not measured": found.get("failed", "")[-200:]}]
        print(f"-- {name}, {found['seconds']:.0f} s\n{table(rows)}", flush=True)


def _in_a_process(name: str, *, quick: bool, seconds: float) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.gpu_check", name, *(["--quick"] * quick)]
    started, seconds = time.monotonic(), max(1.0, seconds)
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
        found = {"failed": done.stderr.strip()[-2000:] or f"exit status {done.returncode}"}
        for line in done.stdout.splitlines():
            if line.startswith(MARK):
                found = json.loads(line.removeprefix(MARK))
    except subprocess.TimeoutExpired:
        found = {"failed": f"not done after {seconds:.0f} s"}
    return {**found, "seconds": time.monotonic() - started}


def machine(quick: bool) -> dict[str, Any]:
    """The device, its driver and the libraries."""
    import torch

    found: dict[str, Any] = {"torch": torch.__version__, "cuda": torch.version.cuda, "gpus": []}
    for number in range(torch.cuda.device_count()):
        gpu = torch.cuda.get_device_properties(number)
        found["gpus"].append({"name": gpu.name, "memory_mib": gpu.total_memory >> 20})
    model = artifact()
    found["model"] = {"name": model.manifest.name, "trained": model.manifest.weights.trained}
    shown = {
        "torch": found["torch"],
        "CUDA": found["cuda"] or "none",
        "GPUs": ", ".join(one["name"] for one in found["gpus"]) or "none: parts run on the CPU",
        "model": found["model"]["name"],
        "trained": found["model"]["trained"],
    }
    return {**found, "shown": [shown]}


PARTS: Final[dict[str, tuple[Callable[[bool], dict[str, Any]], float]]] = {
    "machine": (machine, 60),
    "accuracy": (accuracy, 60),
    "start": (start, 60),
    "latency": (latency, 60),
    "streams": (streams, 110),
    "reload": (reload, 60),
    "kernels": (kernels, 45),
    "limit": (limit, 60),
    "compiled": (compiled, 120),
}
"""What each measures and how many seconds it may take."""


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_check", description=__doc__)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    print(MARK + json.dumps(PARTS[arguments.part][0](arguments.quick)), flush=True)
