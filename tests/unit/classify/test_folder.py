from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from visionstack.classify.folder import FolderJobs
from visionstack.cli.main import app
from visionstack.errors import UsageError, VisionstackError


class FakeS3:
    """Objects of all buckets in one dictionary."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str], bytes] = {}

    def put_object(self, **call: Any) -> None:
        self.objects[call["Bucket"], call["Key"]] = call["Body"]

    def get_object(self, **call: Any) -> dict[str, Any]:
        return {"Body": io.BytesIO(self.objects[call["Bucket"], call["Key"]])}

    def get_paginator(self, name: str) -> FakeS3:
        assert name == "list_objects_v2"
        return self

    def paginate(self, **call: Any) -> Iterator[dict[str, Any]]:
        inside = [key for bucket, key in self.objects if bucket == call["Bucket"]]
        found = sorted(key for key in inside if key.startswith(call["Prefix"]))
        for key in found or [None]:
            yield {"Contents": [{"Key": key}]} if key else {}


class FakeStates:
    """A map that answers one batch each time that it is looked at, and loses some."""

    def __init__(self, s3: FakeS3, *, lose: int = -1, status: str = "SUCCEEDED"):
        self.s3, self.lose, self.status = s3, lose, status
        self.left: list[list[str]] = []
        self.run = ""
        self.number = 0

    def start_execution(self, **call: Any) -> dict[str, str]:
        self.run = json.loads(call["input"])["run"]
        events = json.loads(self.s3.objects["art", f"results/folders/{self.run}/batches.json"])
        assert all((e["method"], e["run"]) == ("folder", self.run) for e in events)
        self.left = [[item["Key"] for item in event["items"]] for event in events]
        return {"executionArn": f"{call['stateMachineArn']}:{call['name']}"}

    def describe_execution(self, **call: Any) -> dict[str, str]:
        if not self.left:
            return {"status": self.status, "cause": "a reason"}
        keys = self.left.pop(0)
        if self.number != self.lose:
            rows = [self._row(key.removeprefix("pictures/")) for key in keys]
            lines = "".join(json.dumps(row) + "\n" for row in rows)
            self.s3.objects["art", f"results/folders/{self.run}/{self.number}.jsonl"] = (
                lines.encode()
            )
        self.number += 1
        return {"status": "RUNNING"}

    @staticmethod
    def _row(path: str) -> dict[str, Any]:
        if "bad" in path:
            return {"file_path": path, "code": "not_a_picture", "message": "no"}
        return {"file_path": path, "TOP1_ID": "1"}


def jobs(s3: FakeS3, states: FakeStates) -> FolderJobs:
    return FolderJobs(
        s3=s3, states=states, machine="m", pictures_bucket="pic", artifacts_bucket="art",
        sleep=lambda seconds: None,
    )  # fmt: skip


def test_every_picture_below_the_prefix_is_answered_with_progress() -> None:
    s3 = FakeS3()
    for number in range(5):
        s3.objects["pic", f"pictures/x/{number}.jpg"] = b""
    s3.objects["pic", "pictures/y/other.jpg"] = b""
    seen: list[tuple[int, int]] = []
    report = jobs(s3, FakeStates(s3)).run(
        "pictures/x/", run="r1", progress=lambda answered, total: seen.append((answered, total))
    )
    assert [answer["file_path"] for answer in report.answers] == [f"x/{n}.jpg" for n in range(5)]
    assert (report.pictures, report.failures) == (5, ())
    assert seen == [*((n, 5) for n in range(1, 6)), (5, 5)]
    assert json.loads(json.dumps(report.to_json()))["results"] == "s3://art/results/folders/r1/"


def test_pictures_of_a_lost_batch_and_bad_ones_are_listed_not_dropped() -> None:
    s3 = FakeS3()
    for name in ("a.jpg", "bad.jpg", "c.jpg", "d.jpg"):
        s3.objects["pic", f"pictures/x/{name}"] = b""
    report = jobs(s3, FakeStates(s3, lose=2)).run("pictures/x/", run="r1")
    assert [answer["file_path"] for answer in report.answers] == ["x/a.jpg", "x/d.jpg"]
    assert {failure.file: failure.code for failure in report.failures} == {
        "x/bad.jpg": "not_a_picture",
        "x/c.jpg": "no_answer",
    }


@pytest.mark.parametrize(("pictures", "largest"), [(1, 1), (79, 1), (100, 2), (1005, 20)])
def test_batches_hold_every_picture_once_and_are_small_where_there_are_few(
    pictures: int, largest: int
) -> None:
    s3 = FakeS3()
    keys = [f"pictures/x/{number:04d}.jpg" for number in range(pictures)]
    s3.objects = {("pic", key): b"" for key in keys}
    states = FakeStates(s3)
    report = jobs(s3, states).run("pictures/x/", run="r1")
    batches = json.loads(s3.objects["art", "results/folders/r1/batches.json"])
    assert [item["Key"] for batch in batches for item in batch["items"]] == keys
    assert max(len(batch["items"]) for batch in batches) == largest
    assert len(report.answers) == pictures


def test_a_job_that_failed_says_why_for_each_picture_without_an_answer() -> None:
    s3 = FakeS3()
    s3.objects["pic", "pictures/x/a.jpg"] = b""
    report = jobs(s3, FakeStates(s3, lose=0, status="FAILED")).run("pictures/x/", run="r1")
    assert report.failures[0].message == "the job failed: a reason"


def test_local_pictures_are_uploaded_below_a_prefix_of_their_own(tmp_path: Path) -> None:
    s3 = FakeS3()
    pictures = [tmp_path / "one.JPG", tmp_path / "two.png"]
    for picture in pictures:
        picture.write_bytes(picture.name.encode())
    uploaded = jobs(s3, FakeStates(s3)).upload(pictures, run="r2")
    prefix = uploaded.prefix
    assert uploaded.names["folders/r2/000001.png"] == str(pictures[1])
    assert prefix == "pictures/folders/r2/"
    assert s3.objects == {
        ("pic", f"{prefix}000000.jpg"): b"one.JPG",
        ("pic", f"{prefix}000001.png"): b"two.png",
    }


def test_a_job_answers_or_lists_every_file_of_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3 = FakeS3()
    monkeypatch.setattr(FolderJobs, "of", lambda deployment: jobs(s3, FakeStates(s3)))
    monkeypatch.setattr("visionstack.cloud.deployment.connect", lambda **options: None)
    (tmp_path / "a.jpg").write_bytes(b"a")
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    (tmp_path / "c.heic").write_bytes(b"c")
    done = CliRunner().invoke(app, ["classify", "--job", str(tmp_path)])
    assert done.exit_code == 1
    assert "1 of 2 pictures classified" in done.stdout
    gone = tmp_path / "gone.jpg"
    assert f"{gone} unreadable: cannot be read: No such file or directory." in done.stdout
    assert "Left out: 1 .heic." in done.stderr
    (tmp_path / "a.jpg").unlink()
    nothing = CliRunner().invoke(app, ["classify", "--job", str(tmp_path)])
    assert isinstance(nothing.exception, VisionstackError)
    assert "gone.jpg cannot be read" in str(nothing.exception)


def test_an_empty_prefix_is_told() -> None:
    s3 = FakeS3()
    with pytest.raises(VisionstackError, match="no picture below s3://pic/pictures/none/"):
        jobs(s3, FakeStates(s3)).run("pictures/none/", run="r1")


@pytest.mark.parametrize("uri", ["s3://other/pictures/x/", "s3://pic/models/x/", "s3://pic"])
def test_a_prefix_that_the_function_may_not_read_is_refused(uri: str) -> None:
    s3 = FakeS3()
    with pytest.raises(UsageError, match="is not below s3://pic/pictures/"):
        jobs(s3, FakeStates(s3)).prefix_of(uri)


def test_a_prefix_of_the_pictures_bucket_is_taken() -> None:
    s3 = FakeS3()
    assert jobs(s3, FakeStates(s3)).prefix_of("s3://pic/pictures/a/b/") == "pictures/a/b/"
