"""`visionstack models diff`: what two published versions differ in, and how sure that is."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from runtime.inference.artifact import Measured, Preprocessing, Weights
from tests.unit.fake_s3 import FakeS3
from tests.unit.inference.conftest import _mean_colours
from visionstack import console
from visionstack.cli import models as command
from visionstack.cli.main import app
from visionstack.models.building import write_artifact
from visionstack.models.differences import Published, Row, differences
from visionstack.models.draft import Draft
from visionstack.models.errors import ModelError
from visionstack.models.publishing import publish
from visionstack.models.versions import Versions


def record(right: int, of: int = 100, *, data: str = "d1") -> dict[str, Any]:
    share = right / of
    top1 = {"share": share, "low": share - 0.05, "high": share + 0.05, "right": right, "of": of}
    return {
        "test": {"top1": top1},
        "products": {"sha256": data, "seed": 0, "train": 300},
        "network": {"name": "resnet18"},
        "ways": [{"name": "last layer", "chosen": True}, {"name": "all layers", "chosen": False}],
        "calibration": {"temperature": 1.5, "error_after": 0.02},
    }


@pytest.fixture
def versions(tmp_path: Path) -> Versions:
    """Two, the second with a class more, one less and one renamed, and better by 20 %."""
    s3 = FakeS3()
    sides = (
        (["P-1\tred", "P-2\tgreen", "P-3\tblue"], record(70)),
        (["P-1\tcrimson", "P-2\tgreen", "P-4\tgrey"], record(90)),
    )
    for number, (labels, told) in enumerate(sides):
        draft = Draft(
            model=_mean_colours(100 * number),
            task="classify",
            family="classifier",
            size=8,
            preprocessing=Preprocessing(kind="crop", resize=8),
            labels=labels,
            weights=Weights(trained=True, description="none"),
            source="tests",
            licence="AGPL-3.0",
            extra={"training.json": json.dumps(told)},
        )
        made = write_artifact("colours", draft, root=tmp_path, say=lambda _: None)
        publish(made, client=s3, bucket="b")
    return Versions(s3, "b", "colours")


def both(versions: Versions) -> tuple[Published, Published]:
    old, new = versions.before(), versions.current()
    assert old
    assert new
    return versions.describe(old), versions.describe(new)


def found(rows: list[Row], group: str, what: str) -> Row:
    (row,) = [row for row in rows if (row.group, row.what) == (group, what)]
    return row


def test_metrics_have_intervals_and_classes_come_and_go(versions: Versions) -> None:
    rows = differences(*both(versions))
    top1 = found(rows, "metrics", "test top1")
    assert (top1.old, top1.new, top1.note) == (
        "70.0% (65.0% to 75.0%)",
        "90.0% (85.0% to 95.0%)",
        "better",
    )
    notes = {row.what: row.note for row in rows if row.group == "classes" and row.note}
    assert notes == {"P-1": "renamed", "P-3": "removed", "P-4": "added"}
    assert found(rows, "size", "model.onnx").differs
    assert not found(rows, "settings", "way").differs
    assert found(rows, "precision", "stored as").old == "fp32"


@pytest.mark.parametrize(
    ("told", "verdict"),
    [
        (record(50), "worse"),
        (record(75), "not established: the intervals overlap"),
        (record(90, data="d2"), "other test pictures: not comparable"),
    ],
)
def test_no_version_is_called_better_that_was_not_shown_to_be(
    versions: Versions, told: dict[str, Any], verdict: str
) -> None:
    old, new = both(versions)
    rows = differences(old, dataclasses.replace(new, record=told))
    assert found(rows, "metrics", "test top1").note == verdict


def test_measured_precisions_stand_side_by_side(versions: Versions) -> None:
    old, new = both(versions)
    int8 = Measured(
        precision="int8", sha256="0", engine="openvino", instructions="avx512", metric="top 1",
        accuracy=0.9, milliseconds=2.0, labels="its own",
    )  # fmt: skip
    new = dataclasses.replace(new, manifest=new.manifest._replace(measured=(int8,)))
    row = found(differences(old, new), "precision", "int8 on openvino")
    assert (row.old, row.new) == ("-", "top 1 90.0%, 2.0 ms")


def test_a_version_that_was_not_trained_here_has_no_metrics(versions: Versions) -> None:
    old, new = (dataclasses.replace(one, record={}) for one in both(versions))
    groups = {row.group for row in differences(old, new)}
    assert groups == {"classes", "settings", "precision", "size"}


def test_the_command_compares_what_a_rollback_would_go_back_to(
    versions: Versions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "_versions", lambda *_: versions)
    done = CliRunner().invoke(app, ["models", "diff", "colours", "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert (told["old"], told["new"]) == (versions.before(), versions.current())
    assert {"group": "classes", "what": "P-4", "old": "-", "new": "grey", "note": "added",
            "differs": True} in told["rows"]  # fmt: skip
    monkeypatch.setattr(console.out, "_width", 200)
    shown = CliRunner().invoke(app, ["models", "diff", "colours"])
    assert "65.0% to 75.0%" in shown.output
    assert "resnet18" not in shown.output


def test_a_version_that_is_not_there_is_named(versions: Versions) -> None:
    with pytest.raises(ModelError, match="no published version v9"):
        versions.describe("v9")
