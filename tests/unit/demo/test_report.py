"""The demo's report, drawn from records that stop at every step."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from visionstack import paths
from visionstack.demo import costing
from visionstack.demo.record import Record
from visionstack.demo.report import build_report
from visionstack.report import html, markdown
from visionstack.report.sections import Rankings, Table
from visionstack.report.write import write

DOG = paths.SAMPLES / "dog.jpg"


def _call(*, cold: bool, environment: str = "0123456789abcdef") -> dict[str, Any]:
    return {"cold": cold, "environment": environment, "seconds": 4.5 if cold else 0.1}


def _streaming(*, trained: bool = True) -> dict[str, Any]:
    return {
        "source": "pedestrians.avi",
        "model": "yolov3-tiny",
        "engine": "onnxruntime fp32 on cpu",
        "weights": "official",
        "trained": trained,
        "policy": "live",
        "paced_fps": 30.0,
        "frames": 4,
        "results": 3,
        "dropped": 1,
        "fps": 22.5,
        "latency_ms": {"p50": 21.0, "p90": 30.0, "p99": 31.0},
        "split_ms": dict.fromkeys(("uplink", "decode", "queue", "inference", "post"), 4.0),
        "samples_ms": [20.0, 21.0, 31.0],
        "labels": {"person": 7, "car": 2},
    }


def _classification() -> dict[str, Any]:
    request = {
        "file": "imagenet_00_243.jpg",
        "path": str(DOG),
        "model": "efficientnet-lite0",
        "trained": True,
        "top": [
            {"id": "242", "label": "boxer", "softmax": 0.6},
            {"id": "243", "label": "bull mastiff", "softmax": 0.3},
        ],
        "truth": {"id": "243", "label": "bull mastiff"},
        **_call(cold=False),
    }
    return {
        "requests": [request],
        "cold_ms": 4500.0,
        "warm_ms": 100.0,
        "labelled": 1,
        "top1_right": 0,
    }


def _pool() -> dict[str, Any]:
    return {
        "target": 5,
        "reached": 5,
        "environments": [f"{n}" * 16 for n in range(5)],
        "cold_calls_without": 5,
        "cold_calls_with": 0,
        "calls_without": [_call(cold=True) for _ in range(5)],
        "calls_with": [_call(cold=False) for _ in range(5)],
    }


@pytest.fixture
def record(tmp_path: Path) -> Record:
    return Record(tmp_path / "report.json")


def _fill(record: Record, *, until: int) -> None:
    steps = [
        ("deploy", {"stacks": [{"name": "visionstack-storage", "status": "CREATE_COMPLETE"}]}),
        ("streaming", _streaming()),
        ("classification", _classification()),
        ("warm_pool", _pool()),
    ]
    for name, section in steps[:until]:
        record.add(name, section)
    if until == len(steps):
        record.add("cost", costing.costs(record.sections, lambda_memory_mb=1769))


@pytest.mark.parametrize("until", range(5))
def test_a_run_that_ends_early_still_leaves_a_report_of_what_it_reached(
    record: Record, tmp_path: Path, until: int
) -> None:
    _fill(record, until=until)
    written = write(build_report(record.sections, seen=[]), tmp_path)
    kept = json.loads(written["json"].read_text("utf-8"))
    assert {"machine", "versions", "paper"} <= kept.keys()
    assert ("warm_pool" in kept) == (until == 4)
    assert "<html" in written["html"].read_text("utf-8")


def test_each_section_is_on_disk_before_the_next_is_measured(record: Record) -> None:
    record.add("streaming", _streaming())
    assert json.loads(record.path.read_text("utf-8"))["streaming"]["dropped"] == 1


def test_random_weights_are_announced(record: Record) -> None:
    record.add("streaming", _streaming(trained=False))
    assert "yolov3-tiny has random weights" in markdown.markdown(
        build_report(record.sections, seen=[])
    )


def test_a_wrong_top_1_is_shown_as_wrong_with_its_rank(record: Record) -> None:
    _fill(record, until=4)
    shown = html.render(build_report(record.sections, seen=[]))
    assert "0 of 1 labelled ImageNet pictures right" in shown
    assert "✗ labelled bull mastiff: rank 2" in shown


def test_costs_are_computed_from_what_was_measured(record: Record) -> None:
    _fill(record, until=4)
    rows = {row["where"]: row for row in record.sections["cost"]["rows"]}
    c7i = rows["c7i.large, streaming lane"]
    assert c7i["usd_per_million"] == pytest.approx(0.08925 / 3600 * 0.004 * 1e6)
    paper = record.sections["cost"]["paper_rows"][-1]
    assert paper["usd_per_million"] == pytest.approx(6.45)


def test_a_picture_that_was_called_twice_stands_once_in_the_gallery_and_each_call_in_the_table(
    record: Record,
) -> None:
    _fill(record, until=3)
    classification = record.sections["classification"]
    (warm,) = classification["requests"]
    classification["requests"] = [{**warm, **_call(cold=True)}, warm]
    sections = build_report(record.sections, seen=[]).sections
    (gallery,) = (one for one in sections if isinstance(one, Rankings))
    assert [one.name for one in gallery.rankings] == ["imagenet_00_243.jpg"]
    (calls,) = (one for one in sections if isinstance(one, Table) and one.title == "Each call")
    assert [row.cells[1] for row in calls.rows] == ["cold", "warm"]
