"""The papers' document: every table and figure, from evidence that is there and that is not."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from runtime.measurement.machine import Machine
from runtime.measurement.results import Measurement, RunResult
from runtime.measurement.statistics import summarize
from visionstack.compare.record import FILE, Record, Row, Status
from visionstack.compare.targets import Kind
from visionstack.errors import VisionstackError
from visionstack.papers.document import document, generate
from visionstack.papers.evidence import gather
from visionstack.report.figures import Figure
from visionstack.report.figures import Kind as FigureKind
from visionstack.report.sections import Table

WANTED = [
    "2019, figures 1 to 4",
    "2019, section 4.2",
    "2019, table 1",
    "2019, table 2",
    "2019, table 3",
    "2019, the claim",
    "2020, table 1",
    "2020, figure 3",
    "2020, tables 2 to 5",
    "2020, table 6",
    "2020, figure 8",
    "2020, figure 9",
    "2020, tables 7 to 9",
    "2020, figure 10",
    "2020, figure 11",
    "2020, figure 12",
    "2020, figure 13",
]


def record(model: str, **row: Any) -> Record:
    return Record(
        run="r",
        cloud="local",
        region="us-east-1",
        model=model,
        version="v",
        task="detect",
        weights_trained=model != "yolov3",
        weights="",
        picture="dog.jpg",
        picture_sha256="0",
        scenarios=[],
        scopes=[],
        seconds=1,
        rows=[Row(status=Status.MEASURED, where="embedded cloud", **row)],
    )


def machine_result(latency: float, *, trained: bool = True) -> dict[str, Any]:
    raw = [latency] * 30
    return RunResult(
        run="r",
        instance_type=None,
        image=None,
        machine=Machine("Test CPU", 2, 8.0, "x86_64", "Linux", "Debian", (), ()),
        versions={},
        subject={
            "model": "m",
            "engine": "openvino",
            "precision": "bf16",
            "picture": "dog.jpg",
            "weights_trained": trained,
        },
        measurements=[
            Measurement(
                scenario="single-stream",
                scope=scope,
                status="measured",
                seconds=1,
                pictures=30,
                latency_s=summarize(raw),
                raw_s=raw,
            )
            for scope in ("network", "picture")
        ],
        finished=True,
    ).to_json()


def save(found: Record, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FILE).write_text(json.dumps(found.to_json()))


def tables(folder: Path) -> list[Table]:
    return [s for s in document(folder).sections if isinstance(s, Table)]


def cells(folder: Path, title: str) -> list[Any]:
    table = next(t for t in tables(folder) if t.title.startswith(title))
    return [cell for row in table.rows for cell in row.cells]


def test_every_table_and_figure_stands_in_the_document(tmp_path: Path) -> None:
    titles = [table.title for table in tables(tmp_path)]
    for wanted in WANTED:
        assert any(title.startswith(wanted) for title in titles), wanted


def test_without_evidence_nothing_is_shown_as_measured(tmp_path: Path) -> None:
    shown = [cell for table in tables(tmp_path) for row in table.rows for cell in row.cells]
    kinds = {cell.kind for cell in shown if isinstance(cell, Figure)}
    assert FigureKind.MEASURED not in kinds
    assert FigureKind.PAPER in kinds


def test_the_papers_numbers_are_shown_exactly_as_printed(tmp_path: Path) -> None:
    page = tmp_path / "papers.md"
    generate(tmp_path, page)
    text = page.read_text()
    for printed in (
        "0.227133", "0.247865", "0.219650", "0.023444", "0.027099", "1.465", "11.72", "23.44",
        "7.25", "1,000,000", "0.000000729", "0.000004897", "44.6", "97.7",
    ):  # fmt: skip
        assert printed in text, printed
    assert "511,628" in text


def test_figure_9_multiplies_servers_and_leaves_lambda_where_it_is(tmp_path: Path) -> None:
    """By hand, with the paper's prices: n servers of 3.30 USD a day; Lambda 10,000 x 6.45e-6."""
    found = cells(tmp_path, "2020, figure 9")
    days = [round(cell.value, 6) for cell in found if isinstance(cell, Figure)]
    assert days[:3] == [33.0, 330.0, 3300.0]
    # Today, 10 c7i.xlarge: 10 x (24 x 0.1785 + 30 GB x 0.08 x 12/365 + 24 x 0.005)
    assert days[3] == round(10 * (24 * 0.1785 + 30 * 0.08 * 12 / 365 + 24 * 0.005), 6)
    words = [cell for cell in found if isinstance(cell, str) and "Lambda stays" in cell]
    assert ["$0.0645" in line for line in words] == [True] * 3 + [False] * 3


def test_measured_times_carry_their_machine_and_random_weights_are_named(tmp_path: Path) -> None:
    row = {"name": "this machine", "kind": Kind.MACHINE}
    save(record("yolov3", **row, result=machine_result(0.5, trained=False)), tmp_path / "a")
    found = cells(tmp_path, "2019, table 3")
    figures = [c for c in found if isinstance(c, Figure) and c.kind is FigureKind.MEASURED]
    assert [figure.value for figure in figures] == [0.5, 0.5]
    assert any("Test CPU" in str(c) and "random weights" in str(c) for c in found)


def test_function_rows_fill_figures_10_and_11(tmp_path: Path) -> None:
    call = {"seconds": 0.2, "inside_s": 0.1, "cold": False, "timings_ms": {"inference": 40.0}}
    first = {**call, "seconds": 1.5, "cold": True, "timings_ms": {"init": 900.0}}
    setting = {
        "memory_mib": 1769,
        "arch": "x86_64",
        "packaging": "package",
        "cold_start": "none",
    }
    function = {"warm": [call] * 5, "first": [first] * 2, "engine": {"name": "onnxruntime"}}
    save(
        record("resnet50", name="Lambda", kind=Kind.FUNCTION, function=function, setting=setting),
        tmp_path,
    )
    ten = [c.value for c in cells(tmp_path, "2020, figure 10") if isinstance(c, Figure)]
    assert 1.5 in ten
    eleven = [c.value for c in cells(tmp_path, "2020, figure 11") if isinstance(c, Figure)]
    assert eleven == [900.0, 40.0]


def test_the_three_ways_of_sending_are_taken_from_their_benchmark(tmp_path: Path) -> None:
    (tmp_path / "bench").mkdir()
    summary = [{"way": "stream", "round_trip_ms": 20, "p50_ms": 35.5, "frames_per_second": 60.0}]
    (tmp_path / "bench" / "sending.json").write_text(json.dumps({"summary": summary}))
    found = cells(tmp_path, "2019, the claim")
    assert [c.value for c in found if isinstance(c, Figure)] == [35.5]


def test_training_and_load_fill_table_1_and_figures_3_and_12(tmp_path: Path) -> None:
    (tmp_path / "training").mkdir()
    training = {
        "products": {"count": 10, "test": 500},
        "seeds": 5,
        "network": "a network",
        "interval": "95 %",
        "machine": {"cpu": "a processor", "cores": 2},
        "versions": {"torch": "2"},
        "rows": [
            {
                "pictures": pictures,
                "name": name,
                "top1": {"mean": mean, "low": mean - 0.02, "high": mean + 0.01},
            }
            for pictures, name, mean in (
                (5, "own CNN from scratch", 0.5),
                (100, "own CNN from scratch", 0.8),
                (100, "the same with augmentation", 0.9),
            )
        ],
        "order": [
            {"pictures": 5, "ways": ["scratch", "head"], "established": False},
            {"pictures": 100, "ways": ["head", "head-augmented"], "established": True},
        ],
        "table1": [
            {
                "model": "resnet50",
                "computed": {"megabytes": 97.7},
                "published": {"by": "torchvision", "top1_error": 23.87, "top5_error": 7.14},
            }
        ],
    }
    (tmp_path / "training" / "compare.json").write_text(json.dumps(training))
    (tmp_path / "load").mkdir()
    step = {
        "concurrency": 100,
        "memory_mib": None,
        "calls": 1000,
        "lost": 0,
        "wrong": 0,
        "throughput": 9.5,
        "response": summarize([2.0] * 30).to_json(),
    }
    resnet50 = {"name": "resnet50", "version": "1", "trained": False}
    load = {"cloud": "local", "steps": [step, {**step, "memory_mib": 768, "model": resnet50}]}
    (tmp_path / "load" / "report.json").write_text(json.dumps(load))

    def figures(title: str) -> list[tuple[float, FigureKind]]:
        found = [c for c in cells(tmp_path, title) if isinstance(c, Figure)]
        return [(c.value, c.kind) for c in found if c.kind is not FigureKind.PAPER]

    assert figures("2020, figure 3") == [
        (50.0, FigureKind.MEASURED),
        (80.0, FigureKind.MEASURED),
        (90.0, FigureKind.MEASURED),
    ]
    intervals = [c.spread for c in cells(tmp_path, "2020, figure 3") if isinstance(c, Figure)]
    assert intervals[0] == pytest.approx((48.0, 51.0))
    assert figures("2020, table 1") == [(97.7, FigureKind.COMPUTED)]
    assert figures("2020, figure 12") == [(2.0, FigureKind.MEASURED)]
    assert figures("2020, figure 13") == [(2.0, FigureKind.MEASURED)]
    told = [str(cell) for cell in cells(tmp_path, "2020, figure 13")]
    assert any("; resnet50, random weights; 100 at once" in text for text in told)
    (tmp_path / "load-aws").mkdir()
    step["response"] = summarize([1.0] * 30).to_json()
    step["memory_mib"] = 768
    aws = {"cloud": "aws", "steps": [step]}
    (tmp_path / "load-aws" / "report.json").write_text(json.dumps(aws))
    assert figures("2020, figure 13") == [(1.0, FigureKind.MEASURED)]


def exhibit(page: Path, title: str) -> str:
    text = page.read_text("utf-8")
    (found,) = [part for part in text.split("\n## ") if part.startswith(title)]
    return found.partition("\nVersions: ")[0].strip()


def test_the_page_keeps_the_figures_that_the_results_at_hand_do_not_hold(tmp_path: Path) -> None:
    page, all_of_it, some = tmp_path / "papers.md", tmp_path / "all", tmp_path / "some"
    for folder in (all_of_it, some):
        (folder / "a").mkdir(parents=True)
    tiny = record("yolov3-tiny", name="this machine", kind=Kind.MACHINE)
    tiny.rows[0].result = machine_result(0.005)
    tiny.save(all_of_it / "a")
    assert generate(all_of_it, page).kept == ()
    before = exhibit(page, "2019, section 4.2")
    assert before.count("**") == 4
    yolo = record("yolov3", name="this machine", kind=Kind.MACHINE)
    yolo.rows[0].result = machine_result(0.1)
    yolo.save(some / "a")
    assert generate(some, page).kept == tuple(
        f"2019, section 4.2: YOLOv3-tiny without a GPU: this machine, {what}"
        for what in ("network only", "picture to detections")
    )
    assert exhibit(page, "2019, section 4.2") == before
    assert "**0.1 s**" in exhibit(page, "2019, table 1")
    # A row that is new does not cost the others.
    held = record("yolov3-tiny", name="held", kind=Kind.MACHINE)
    held.rows[0].setting = {"processors": 1, "memory_mib": 700}
    held.rows[0].result = machine_result(0.02)
    held.save(some / "c")
    assert len(generate(some, page).kept) == 2
    both = exhibit(page, "2019, section 4.2")
    assert both.count("**0.02 s**") == 2
    assert both.count("**0.005 s**") == 2
    # Figures measured anew replace the old ones.
    tiny.rows[0].result = machine_result(0.006)
    tiny.save(some / "b")
    assert generate(some, page).kept == ()
    assert "**0.006 s**" in exhibit(page, "2019, section 4.2")


def test_without_a_folder_of_results_the_page_stays_as_it_is(tmp_path: Path) -> None:
    page = tmp_path / "papers.md"
    page.write_text("figures of a week")
    with pytest.raises(VisionstackError, match="no folder of results"):
        generate(tmp_path / "out", page)
    assert page.read_text() == "figures of a week"


def test_damaged_json_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / FILE).write_text("[]")
    evidence = gather(tmp_path)
    assert evidence.comparisons == []
    assert evidence.documents == {}


def test_the_committed_page_has_every_exhibit_and_no_path_of_a_machine() -> None:
    page = Path(__file__).parents[3] / "docs" / "papers.md"
    text = page.read_text(encoding="utf-8")
    for wanted in WANTED:
        assert f"## {wanted}" in text
    assert not re.search(r"/(work|tmp|home|root)/", text)
