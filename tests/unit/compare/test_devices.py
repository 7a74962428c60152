"""The page's file becomes a row of a comparison's report, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.unit.compare.conftest import Plan, result
from visionstack.cli.main import app
from visionstack.compare.devices import with_device
from visionstack.compare.errors import MixedResultsError, RecordError
from visionstack.compare.record import load

PIXEL = (
    "Mozilla/5.0 (Linux; Android 15; Pixel 8) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/131.0.0.0 Mobile Safari/537.36"
)


def told(plan: Plan, **changes: Any) -> dict[str, Any]:
    record = plan(local=True)
    return {
        "schema": 1,
        "kind": "browser",
        "model": record.model,
        "version": record.version,
        "engine": "onnxruntime-web 1.30.0 WebAssembly",
        "threads": 4,
        "agent": PIXEL,
        "processors": 8,
        "measured": "2026-11-25T15:00:00Z",
        "seconds": 0.6,
        "pictures": 3,
        "raw_ms": [100.0, 200.0, 300.0],
        **changes,
    }


@pytest.fixture
def measured(plan: Plan, tmp_path: Path) -> Path:
    record = plan(local=True)
    record.take(record.rows[0], result(record))
    record.save(tmp_path / "compare")
    return tmp_path / "compare"


def test_a_phone_stands_beside_the_machines_and_the_comparison_is_left_alone(
    plan: Plan, tmp_path: Path, measured: Path
) -> None:
    device = tmp_path / "device.json"
    device.write_text(json.dumps(told(plan)), encoding="utf-8")
    before = (measured / "comparison.json").read_bytes()
    twice = ["--device", str(device), "--device", str(device)]
    done = CliRunner().invoke(app, ["compare", "report", str(measured), "--json", *twice])
    assert done.exit_code == 0, done.output
    rows = json.loads(done.stdout)["rows"]
    assert [row["name"] for row in rows[1:]] == ["this phone", "this phone 2"]
    assert rows[1]["where"] == "Chrome on Android"
    assert rows[1]["result"]["measurements"][0]["latency_s"]["p50"] == pytest.approx(0.2)
    assert "this phone" in (measured / "report.html").read_text(encoding="utf-8")
    assert (measured / "comparison.json").read_bytes() == before


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"version": "another"}, MixedResultsError),
        ({"model": "another"}, MixedResultsError),
        ({"raw_ms": [1.0]}, RecordError),
        ({"raw_ms": []}, RecordError),
        ({"raw_ms": None}, RecordError),
        ({"kind": "machine"}, RecordError),
        ({"agent": 1, "threads": "many", "processors": None}, RecordError),
    ],
)
def test_another_models_file_or_another_kind_of_file_is_refused(
    plan: Plan, tmp_path: Path, measured: Path, changes: dict[str, Any], kind: type[Exception]
) -> None:
    device = tmp_path / "device.json"
    device.write_text(json.dumps(told(plan, **changes)), encoding="utf-8")
    with pytest.raises(kind):
        with_device(load(measured), device)
