"""The guard calls a ratio worse only when it is, and has all its ratios on record."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import guard
from benchmarks.guard import RECORDED, Spread, judged

KNOWN = Spread(value=2.0, low=1.9, high=2.1)


@pytest.mark.parametrize(
    ("low", "worse"),
    [(1.0, False), (2.05, False), (2.1, False), (2.14, False), (2.15, True), (3.0, True)],
)
def test_a_ratio_is_worse_when_its_whole_interval_lies_above_what_was_recorded(
    low: float, worse: bool
) -> None:
    found = judged(Spread(value=low + 0.1, low=low, high=low + 0.2), KNOWN)
    assert found["worse"] is worse
    assert (found["recorded"], found["low"]) == (2.0, low)


def test_a_ratio_that_was_never_recorded_is_not_worse() -> None:
    assert judged(KNOWN, None) == {**KNOWN, "recorded": None, "worse": False}


def test_a_part_that_fails_is_named_and_the_others_are_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(values: dict[str, Any]) -> dict[str, Spread]:
        raise OSError("no index")

    def streaming(values: dict[str, Any]) -> dict[str, Spread]:
        return {"bytes_on_the_wire": Spread(value=9.0, low=9.0, high=9.0)}

    monkeypatch.setattr(guard.signal, "signal", lambda *_: None)
    monkeypatch.setattr(guard, "serverless", fails)
    monkeypatch.setattr(guard, "streaming", streaming)
    guard.main(tmp_path, quick=False)
    report = json.loads((tmp_path / "guard.json").read_text())
    assert report["failed"] == {"fails": "OSError: no index"}
    assert report["cold_start_s"] is None
    assert report["ratios"]["bytes_on_the_wire"]["worse"]


def test_every_ratio_is_on_record_with_its_spread() -> None:
    recorded = json.loads(RECORDED.read_text("utf-8"))
    assert set(recorded["ratios"]) == {
        "cold_start_over_import_floor",
        "handler_over_session",
        "streamed_over_loop",
        "bytes_on_the_wire",
    }
    for spread in recorded["ratios"].values():
        assert 0 < spread["low"] <= spread["value"] <= spread["high"]
    assert recorded["processor"]
