"""A comparison from plan to nothing left, on the embedded cloud."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime.measurement.loadgen import read_summary
from tests.cloud.conftest import Cloud

pytestmark = pytest.mark.cloud
SAMPLE = Path(__file__).parents[3] / "samples" / "dog.jpg"


def stacks(cloud: Cloud) -> list[str]:
    found = cloud.deployment.client("cloudformation").describe_stacks()["Stacks"]
    return [s["StackName"] for s in found if s["StackStatus"] != "DELETE_COMPLETE"]


@pytest.mark.timeout(1500)
def test_a_comparison_goes_from_plan_to_report_to_nothing_left(
    own_cloud: Cloud, tmp_path: Path
) -> None:
    before = stacks(own_cloud)
    found = own_cloud.json(
        *("compare", "run", "--local", "-i", "c7i.xlarge", "-i", "c6i.xlarge"),
        *("--lambda", "1769", "--model", "efficientnet-lite0", "--picture", str(SAMPLE)),
        *("--seconds", "0.5", "--calls", "5", "--cold-calls", "1", "--out", str(tmp_path)),
        timeout=1440,
    )
    rows = {row["name"]: row for row in found["rows"]}
    assert rows["this machine"]["status"] == "measured"
    for name in ("c7i.xlarge", "c6i.xlarge"):
        assert rows[name]["status"] == "not-run", rows[name]["reason"]
        assert "not available on this machine" in rows[name]["reason"]
        assert rows[name]["result"] is None
    (function,) = (row for row in found["rows"] if row["kind"] == "lambda")
    assert function["status"] == "measured", function["reason"]
    assert len(function["function"]["warm"]) == 5
    assert function["function"]["first"][0]["cold"]
    assert found["deployed"] == []
    assert stacks(own_cloud) == before

    logs = tmp_path / "this-machine" / "loadgen" / "picture-single-stream"
    assert read_summary(logs / "mlperf_log_summary.txt")["Scenario"] == "SingleStream"
    html = (tmp_path / "report.html").read_text()
    assert "not run: not available on this machine" in html


def test_doctor_looks_at_the_embedded_cloud(own_cloud: Cloud) -> None:
    found = own_cloud.json("doctor", "--instance-type", "c7i.xlarge")
    states = {check["name"]: check["state"] for check in found["checks"]}
    assert states["credentials"] == "good"
    assert states["CDK bootstrap"] == "good"
    assert states["c7i.xlarge: vCPU quota"] == "unknown"
