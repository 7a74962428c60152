"""Rows of this machine that are held to some of it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence

import pytest

from tests.unit.compare.conftest import Plan
from visionstack.compare.errors import NotRunError, RowUsageError
from visionstack.compare.held import held

_TAKES = "import os; taken = bytearray(int({mib}) << 20); print(len(os.sched_getaffinity(0)))"


def child(mib: int, prefix: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
    command = [*prefix, sys.executable, "-c", _TAKES.format(mib=mib)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.skipif(sys.platform != "linux", reason="control groups are Linux's")
def test_what_is_started_has_the_processors_and_the_memory_and_no_more() -> None:
    before = os.sched_getaffinity(0)
    try:
        with held(1, 128) as prefix:
            small, large, outside = child(16, prefix), child(512, prefix), child(512)
    except NotRunError as error:
        pytest.skip(str(error))
    assert small.stdout.strip() == "1"
    assert outside.returncode == 0
    assert large.returncode < 0, "it took more memory than it was given"
    assert os.sched_getaffinity(0) == before
    assert child(512).stdout.strip() == str(len(before))


def test_a_machine_has_no_more_processors_than_it_has(plan: Plan) -> None:
    with pytest.raises(NotRunError, match="not 4096"), held(4096, None):
        pass
    (row,) = plan(local=True, within=["4096:700"]).rows
    assert row.status == "not-run"
    assert "not 4096" in str(row.reason)


def test_where_groups_cannot_be_written_the_plan_says_so(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    (row,) = plan(local=True, within=["1:700"]).rows
    assert "run it as root" in str(row.reason)


def test_a_held_row_has_no_price_and_stands_beside_others_where_they_are_named(plan: Plan) -> None:
    record = plan(local=True, within=["1:700", "1:700"], engines=["auto"], local_usd_per_hour=0.1)
    assert [(row.name, row.setting, row.usd_per_hour) for row in record.rows] == [
        ("this machine", None, 0.1),
        (
            "this machine held to 1 CPU and 700 MiB",
            {"processors": 1, "memory_mib": 700},
            None,
        ),
    ]


def test_a_held_row_may_stand_alone(plan: Plan) -> None:
    (row,) = plan(local=True, within=["1:700"]).rows
    assert row.name == "this machine held to 1 CPU and 700 MiB"


@pytest.mark.parametrize("text", ["1", "1:", "0:700", "1:x", "-1:700"])
def test_what_is_no_size_is_refused(plan: Plan, text: str) -> None:
    with pytest.raises(RowUsageError, match="--within"):
        plan(local=True, within=[text])
