"""Memory does not grow with the number of pictures; the whole: `benchmarks training_memory`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SIDE = 224
FEW, MANY = 64, 264
GIVEN_BACK_AT_ONCE = {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": "65536"}
"""What is freed goes back to the system. Else what glibc keeps for itself differs from run to run,
on a busy machine by more than all pictures take (96 MB seen, of 60): mallopt(3)."""
TRAINED = """
import os, re, sys
from pathlib import Path
import numpy as np
from visionstack.training.dataset import Pictures
from visionstack.training.fitting import FitOptions, fit, judge, one_thread, torch_seeded
from visionstack.training.networks import own_network
from visionstack.training.plans import Candidate
from visionstack.training.rows import Rows

def train(folder, way, side, count):
    rows = Rows(folder / f"squares-{count}.u8", shape=(side, side, 3), dtype=np.uint8)
    random = np.random.default_rng(0)
    for _ in range(count // 8):
        rows.append(random.integers(0, 256, (8, side, side, 3), np.uint8))
    numbers = np.arange(count)
    pictures = Pictures(
        rows=rows, numbers=numbers, product=numbers % 4, paths=tuple(map(str, numbers))
    )
    with torch_seeded(0):
        backbone = own_network(shrink=8)
    candidate = Candidate(way, augmented=way == "all")
    run = folder / f"run-{count}"
    options = FitOptions(folder=run, features=folder, epochs=1, patience=1, batch=16)
    with one_thread():
        network, _ = fit(candidate, backbone, pictures, pictures, products=4, options=options)
        judge(candidate, network, backbone, pictures, folder)

folder, way, side = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
for count in map(int, sys.argv[4:]):
    # A process each, whose peak begins with what it holds now; to import torch anew takes longer
    # than to train.
    child = os.fork()
    if child:
        assert os.waitpid(child, 0)[1] == 0
        continue
    train(folder, way, side, count)
    # Not ru_maxrss, which outlives exec: it begins with what the tests' process has had.
    held = re.search("VmHWM:\\s+([0-9]+)", Path("/proc/self/status").read_text())[1]
    print(int(held) * 1024, flush=True)
    os._exit(0)
"""


def peaks(folder: Path, way: str, *counts: int) -> list[int]:
    """Bytes, of processes of their own that train with so many pictures."""
    done = subprocess.run(
        [sys.executable, "-c", TRAINED, str(folder), way, str(SIDE), *map(str, counts)],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, **GIVEN_BACK_AT_ONCE},
    )
    assert done.returncode == 0, done.stderr
    return [int(peak) for peak in done.stdout.split()[-len(counts) :]]


@pytest.mark.parametrize("way", ["head", "all"])
def test_memory_does_not_grow_with_the_number_of_pictures(tmp_path: Path, way: str) -> None:
    few, many = peaks(tmp_path, way, FEW, MANY)
    held = (MANY - FEW) * SIDE * SIDE * 3
    assert many - few < held / 2
