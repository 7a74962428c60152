"""`make gpu-check`, on a machine with a CPU and little else."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import _gpu_given, gpu_check
from benchmarks._gpu_pictures import agreement
from runtime.inference.detector import Detection
from visionstack.paths import IMPORT_ROOT

BARE = """
import importlib.abc, importlib.metadata, runpy, sys

THERE = set(
    "torch torchgen functorch numpy cv2 onnx onnxruntime PIL psutil pytest visionstack google "
    "typing_extensions sympy isympy networkx jinja2 markupsafe filelock fsspec mpmath ml_dtypes "
    "flatbuffers packaging".split()
)
INSTALLED = set(importlib.metadata.packages_distributions())

class Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top in INSTALLED and top not in THERE:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
sys.argv = ["gpu_check", sys.argv[1], "--quick"]
runpy.run_module("benchmarks.gpu_check", run_name="__main__")
"""
"""Runs a part where only what a bare machine has can be imported, with what that itself needs."""


@pytest.mark.parametrize("part", ["machine", "streams"])
def test_parts_need_no_more_than_a_bare_machine_has(part: str) -> None:
    command = [sys.executable, "-c", BARE, part]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=IMPORT_ROOT, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    (line,) = (line for line in done.stdout.splitlines() if line.startswith(gpu_check.MARK))
    found = json.loads(line.removeprefix(gpu_check.MARK))
    if part == "streams":
        assert [(row["streams"], row["failed"]) for row in found["rows"]] == [
            (1, 0),
            (16, 0),
            (64, 0),
        ]
        assert all(row["frames/s"] > 0 for row in found["rows"])


def test_boxes_are_the_same_where_class_and_place_are() -> None:
    def one(class_id: int, confidence: float, left: float) -> Detection:
        return Detection("", class_id, confidence, (left, 0.0, left + 100.0, 100.0))

    truth = [[one(1, 0.9, 0), one(2, 0.8, 0), one(3, 0.7, 0)]]
    found = [[one(1, 0.85, 2), one(2, 0.8, 40), one(4, 0.7, 0)]]
    assert agreement(truth, found) == {
        "boxes": 3,
        "of ours": 3,
        "the same": 1,
        "confidence differs by": pytest.approx(0.05),
        "least overlap": pytest.approx(98 / 102),
    }


def test_a_part_that_hangs_costs_that_part_alone() -> None:
    found = gpu_check._in_a_process("streams", quick=True, seconds=0.1)
    assert found["failed"] == "not done after 1 s"
    assert found["seconds"] < 60


def test_a_part_that_fails_says_why() -> None:
    assert "invalid choice" in gpu_check._in_a_process("nothing", quick=True, seconds=60)["failed"]


def test_a_network_with_random_weights_is_made_where_none_is_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_gpu_given, "MODELS", tmp_path)
    model = _gpu_given.artifact()
    assert (model.manifest.family, model.manifest.weights.trained) == ("darknet", False)
    assert model.manifest.anchors
