"""`visionstack rehearse` from nothing to nothing left, beside a deployment that it leaves alone."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.cloud.conftest import EmbeddedCloud
from visionstack.rehearse import leftovers

pytestmark = pytest.mark.cloud


@pytest.mark.timeout(1200)
def test_a_rehearsal_passes_but_for_what_is_not_on_the_embedded_cloud(
    embedded_cloud: EmbeddedCloud, tmp_path: Path
) -> None:
    before = leftovers.stacks(embedded_cloud.deployment).keys()
    done = embedded_cloud.visionstack(
        *("rehearse", "--cloud", "local", "--out", str(tmp_path)), timeout=1180
    )

    document = json.loads((tmp_path / "report.json").read_text())
    outcomes = {step["name"]: step["outcome"] for step in document["steps"]}
    assert outcomes == {
        "compare two types": "not on the embedded cloud",
        "deploy both lanes": "passed",
        "stream": "passed",
        "classify": "passed",
        "warm": "passed",
        "change a setting": "passed",
        "destroy": "passed",
        "nothing is left": "passed",
    }, document["steps"]
    assert done.returncode == 0, done.stderr
    assert leftovers.stacks(embedded_cloud.deployment).keys() == before
    report = (tmp_path / "report.md").read_text()
    assert not re.search(r"(?<!\d)\d{12}(?!\d)|127\.0\.0\.1", report)
