from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError

from runtime.emptier.handler import SID, TAG, empty, handle, refuse_puts

ARN = "arn:aws-cn:s3:::models"
MARKED = {"Key": TAG, "Value": "true"}


def plenty() -> float:
    return 800.0


CONTEXT = SimpleNamespace(get_remaining_time_in_millis=lambda: 800_000)


class FakeS3:
    """The calls that emptying a bucket takes, two versions a page."""

    class exceptions:  # noqa: N801 - boto3's own spelling
        ClientError = ClientError

    def __init__(
        self,
        keys: list[str],
        *,
        tags: list[dict[str, str]] | None = None,
        refuse: str | None = None,
        answers: str | None = None,
    ) -> None:
        self.left = keys
        self.policy: str | None = None
        self.uploads: list[str] = []
        self.arriving: list[list[str]] = []
        """What is delivered after each look that found the bucket empty."""
        self._tags = tags or []
        self._refuse = refuse
        self._answers = answers

    def get_bucket_tagging(self, *, Bucket: str) -> dict[str, Any]:  # noqa: N803
        del Bucket
        code = self._answers or ("" if self._tags else "NoSuchTagSet")
        if code:
            raise ClientError({"Error": {"Code": code, "Message": code}}, "GetBucketTagging")
        return {"TagSet": self._tags}

    def get_paginator(self, operation: str) -> Any:
        if operation == "list_multipart_uploads":
            return SimpleNamespace(paginate=self._list_uploads)
        assert operation == "list_object_versions"
        return SimpleNamespace(paginate=self._list_versions)

    def _list_uploads(self, *, Bucket: str) -> Iterator[dict[str, Any]]:  # noqa: N803
        del Bucket
        yield {"Uploads": [{"Key": "a", "UploadId": upload} for upload in self.uploads]}

    def abort_multipart_upload(self, *, Bucket: str, Key: str, UploadId: str) -> None:  # noqa: N803
        del Bucket, Key
        self.uploads.remove(UploadId)

    def get_bucket_policy(self, *, Bucket: str) -> dict[str, Any]:  # noqa: N803
        del Bucket
        if self.policy is None:
            code = "NoSuchBucketPolicy"
            raise ClientError({"Error": {"Code": code, "Message": code}}, "GetBucketPolicy")
        return {"Policy": self.policy}

    def put_bucket_policy(self, *, Bucket: str, Policy: str) -> None:  # noqa: N803
        del Bucket
        assert self.left, "puts are to be refused before anything is deleted"
        self.policy = Policy

    def _list_versions(self, *, Bucket: str) -> Iterator[dict[str, Any]]:  # noqa: N803
        del Bucket
        if not self.left and self.arriving:
            yield {}
            self.left = self.arriving.pop(0)
            return
        entries = [{"Key": key, "VersionId": "1"} for key in self.left]
        for start in range(0, len(entries), 2):
            yield {
                "Versions": entries[start : start + 1],
                "DeleteMarkers": entries[start + 1 : start + 2],
            }

    def delete_objects(self, *, Bucket: str, Delete: dict[str, Any]) -> dict[str, Any]:  # noqa: N803
        del Bucket
        keys = [entry["Key"] for entry in Delete["Objects"]]
        if self._refuse in keys:
            return {"Errors": [{"Key": self._refuse, "Code": "AccessDenied"}]}
        self.left = [key for key in self.left if key not in keys]
        return {}


@pytest.fixture
def cloudformation() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Where a custom resource sends its answer, and the answers so far."""
    answers: list[dict[str, Any]] = []

    class Answered(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            answers.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            del format, args

    server = HTTPServer(("127.0.0.1", 0), Answered)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/answer", answers
    server.shutdown()
    thread.join()
    server.server_close()


def event(kind: str, url: str) -> dict[str, Any]:
    return {
        "RequestType": kind,
        "ResponseURL": url,
        "StackId": "stack",
        "RequestId": "request",
        "LogicalResourceId": "Empty",
        "PhysicalResourceId": "empty-models",
        "ResourceProperties": {"BucketName": "models", "BucketArn": ARN, "SettleSeconds": "0"},
    }


def test_every_version_and_marker_goes() -> None:
    s3 = FakeS3(["a", "b", "c", "d", "e"])
    s3.uploads = ["1", "2"]
    empty(s3, "models", settle_s=0, left_s=plenty)
    assert s3.left == s3.uploads == []


def test_what_was_on_its_way_is_deleted_until_nothing_comes_any_more() -> None:
    """Access logs are delivered hours late, also between the emptying and the deletion."""
    s3 = FakeS3(["a"])
    s3.arriving = [["log1"], ["log2", "log3"]]
    empty(s3, "models", settle_s=0.001, left_s=plenty)
    assert s3.left == s3.arriving == []


def test_a_run_that_cannot_delete_all_says_so_before_it_is_cut_off() -> None:
    with pytest.raises(RuntimeError, match="destroy again"):
        empty(FakeS3(["a", "b", "c"]), "models", settle_s=0, left_s=lambda: 1.0)


@pytest.mark.parametrize("before", [None, [{"Sid": "Tls", "Effect": "Deny"}]])
def test_puts_are_refused_once_and_the_policy_stays(before: list[dict[str, str]] | None) -> None:
    s3 = FakeS3(["a"])
    s3.policy = json.dumps({"Version": "2012-10-17", "Statement": before}) if before else None
    refuse_puts(s3, "models", ARN)
    refuse_puts(s3, "models", ARN)
    assert s3.policy is not None
    *kept, added = json.loads(s3.policy)["Statement"]
    assert kept == (before or [])
    assert added == {
        "Sid": SID,
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:PutObject",
        "Resource": "arn:aws-cn:s3:::models/*",
    }


@pytest.mark.parametrize(
    ("tags", "left"),
    [
        ([MARKED], []),
        ([{"Key": "visionstack", "Value": "visionstack"}], ["a"]),
        ([{"Key": TAG, "Value": "false"}], ["a"]),
        ([], ["a"]),
    ],
)
def test_a_delete_empties_only_a_bucket_that_is_marked(
    tags: list[dict[str, str]],
    left: list[str],
    cloudformation: tuple[str, list[dict[str, Any]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An update or a rollback that takes the resource away sends it a delete too."""
    url, answers = cloudformation
    s3 = FakeS3(["a"], tags=tags)
    monkeypatch.setattr("runtime.emptier.handler.boto3.client", lambda _: s3)
    handle(event("Delete", url), CONTEXT)
    assert answers[0]["Status"] == "SUCCESS"
    assert s3.left == left
    assert (s3.policy is None) == (left == ["a"])


@pytest.mark.parametrize(
    ("code", "status"), [("NoSuchBucket", "SUCCESS"), ("AccessDenied", "FAILED")]
)
def test_a_bucket_whose_mark_cannot_be_read_is_left_alone(
    code: str,
    status: str,
    cloudformation: tuple[str, list[dict[str, Any]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url, answers = cloudformation
    s3 = FakeS3(["a"], tags=[MARKED], answers=code)
    monkeypatch.setattr("runtime.emptier.handler.boto3.client", lambda _: s3)
    handle(event("Delete", url), CONTEXT)
    assert answers[0]["Status"] == status
    assert s3.left == ["a"]


def test_another_bucket_is_another_resource_so_that_the_old_one_is_emptied(
    cloudformation: tuple[str, list[dict[str, Any]]],
) -> None:
    url, answers = cloudformation
    handle(event("Update", url) | {"PhysicalResourceId": "empty-old"}, None)
    assert answers[0]["PhysicalResourceId"] == "empty-models"


def test_an_object_that_cannot_be_deleted_is_an_error_that_names_it() -> None:
    with pytest.raises(RuntimeError, match=r"models: .*AccessDenied"):
        empty(FakeS3(["a", "b"], refuse="b"), "models", settle_s=0, left_s=plenty)


def test_creating_answers_without_touching_the_bucket(
    cloudformation: tuple[str, list[dict[str, Any]]],
) -> None:
    url, answers = cloudformation
    handle(event("Create", url), CONTEXT)
    (answer,) = answers
    assert (answer["Status"], answer["PhysicalResourceId"]) == ("SUCCESS", "empty-models")


def test_a_failure_is_answered_and_not_left_to_time_out(
    cloudformation: tuple[str, list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, answers = cloudformation
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    handle(event("Delete", url), CONTEXT)
    (answer,) = answers
    assert answer["Status"] == "FAILED"
    assert "could not empty models" in answer["Reason"]
