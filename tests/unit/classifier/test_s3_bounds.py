"""The function's S3 client: which answers are tried again, which part is which, what is read."""

from __future__ import annotations

import io
import time

import pytest

from runtime.classifier import s3 as module
from runtime.classifier.credentials import EnvironmentCredentials
from runtime.classifier.s3 import (
    PresignedPost,
    RetryPolicy,
    S3Client,
    S3Error,
    S3NotFoundError,
    S3TooLargeError,
    _Cut,
    _error_code,
)
from tests.unit.classifier.test_s3 import FakeS3, client, s3

__all__ = ["s3"]
"""The fixture."""


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504, 599])
def test_what_may_be_different_the_next_time_is_tried_again(s3: FakeS3, status: int) -> None:
    """Throttling, time-outs and the server's own errors, as botocore's standard mode does:
    https://docs.aws.amazon.com/sdkref/latest/guide/feature-retry-behavior.html"""
    s3.objects["/b/k"] = b"content"
    faults = iter([status, status])
    s3.faults = lambda: next(faults, None)
    assert client(s3.url).get("b", "k") == b"content"
    assert len(s3.requests) == 3


@pytest.mark.parametrize("status", [301, 307, 400, 401, 403, 405, 409, 412, 416, 499])
def test_what_will_be_the_same_the_next_time_is_not_tried_again(s3: FakeS3, status: int) -> None:
    s3.faults = lambda: status
    with pytest.raises(S3Error, match=f"GET s3://b/k failed: HTTP {status} SlowDown"):
        client(s3.url).get("b", "k")
    assert len(s3.requests) == 1


def test_a_put_is_tried_again_too_and_names_itself(s3: FakeS3) -> None:
    faults = iter([503])
    s3.faults = lambda: next(faults, None)
    client(s3.url).put("b", "k", b"body", content_type="text/plain", metadata={"a": "b"})
    assert s3.objects["/b/k"] == b"body"
    assert [verb for verb, _, _ in s3.requests] == ["PUT", "PUT"]
    assert s3.requests[-1][2]["x-amz-meta-a"] == "b"
    s3.faults = lambda: 403
    with pytest.raises(S3Error, match="PUT s3://b/k failed"):
        client(s3.url).put("b", "k", b"body", content_type="text/plain")


def test_a_put_that_is_answered_without_content_has_succeeded(s3: FakeS3) -> None:
    """Of a PUT that replaced something, by RFC 9110, section 9.3.4: 200 or 204."""
    s3.faults = lambda: (204, b"")
    client(s3.url).put("b", "k", b"body", content_type="text/plain")
    assert len(s3.requests) == 1


@pytest.mark.parametrize("size", [64 * 1024, 64 * 1024 + 1, 3_000_000])
def test_a_refusal_of_any_length_is_one_and_the_next_request_is_none(s3: FakeS3, size: int) -> None:
    begin = b"<Error><Code>AccessDenied</Code><Message>"
    s3.faults = lambda: (403, begin.ljust(size, b"x"))
    made = client(s3.url)
    with pytest.raises(S3Error, match="GET s3://b/k failed: HTTP 403 AccessDenied"):
        made.get("b", "k")
    s3.faults = lambda: None
    s3.objects["/b/k"] = b"content"
    assert made.get("b", "k") == b"content"
    assert len(s3.requests) == 2


def test_each_wait_of_a_kept_connection_is_as_long_as_any(s3: FakeS3) -> None:
    """Its first request had less than that left to connect in."""
    s3.objects["/b/k"] = b"content"
    made = client(s3.url, retry=RetryPolicy(timeout_seconds=300, deadline_seconds=100))
    made.get("b", "k")
    (kept,) = made._local.pool.values()
    assert kept.sock.gettimeout() == 300


def test_no_attempt_is_made_after_the_deadline(s3: FakeS3) -> None:
    retry = RetryPolicy(deadline_seconds=0.0)
    with pytest.raises(S3Error, match="no attempt"):
        client(s3.url, retry=retry).get("b", "k")
    assert s3.requests == []


def test_a_pause_is_cut_at_the_deadline(s3: FakeS3) -> None:
    pauses: list[float] = []
    s3.faults = lambda: 503
    made = S3Client(
        region="r",
        credentials=EnvironmentCredentials(
            {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "s"}
        ),
        endpoint=s3.url,
        retry=RetryPolicy(attempts=3, base_seconds=1e6, cap_seconds=1e6, deadline_seconds=30),
        sleep=pauses.append,
    )
    with pytest.raises(S3Error):
        made.get("b", "k")
    assert len(pauses) == 2
    assert all(0 <= pause <= 30 for pause in pauses)


def test_a_request_of_the_function_takes_15_seconds_and_4_attempts_at_most() -> None:
    """docs/security.md; a function that waits longer for S3 has no time left to answer."""
    assert RetryPolicy() == (4, 0.1, 1.0, 5.0, 15.0)


@pytest.mark.parametrize(
    ("size", "ranges"),
    [
        (0, []),
        (1, ["bytes=0-0"]),
        (10, ["bytes=0-9"]),
        (11, ["bytes=0-9", "bytes=10-10"]),
        (20, ["bytes=0-9", "bytes=10-19"]),
        (25, ["bytes=0-9", "bytes=10-19", "bytes=20-24"]),
    ],
)
def test_an_object_comes_in_these_parts(
    s3: FakeS3, monkeypatch: pytest.MonkeyPatch, size: int, ranges: list[str]
) -> None:
    monkeypatch.setattr(module, "PART_BYTES", 10)
    s3.objects["/b/k"] = bytes(range(size))
    parts = list(client(s3.url).stream("b", "k", size=size))
    assert b"".join(parts) == bytes(range(size))
    assert [len(part) for part in parts] == [10] * (size // 10) + [size % 10] * (size % 10 > 0)
    assert sorted(headers["range"] for _, _, headers in s3.requests) == sorted(ranges)


@pytest.mark.parametrize("said", [9, 19, 21, 31])
def test_an_object_of_another_size_is_noticed(
    s3: FakeS3, monkeypatch: pytest.MonkeyPatch, said: int
) -> None:
    monkeypatch.setattr(module, "PART_BYTES", 10)
    s3.objects["/b/k"] = bytes(20)
    s3.faults = lambda: "whole" if said == 9 else None
    if said == 19:
        # A range that ends before the object does is no error of S3's: the hash finds it.
        assert len(b"".join(client(s3.url).stream("b", "k", size=said))) == 19
        return
    with pytest.raises(S3Error, match=f"another size than {said} bytes"):
        list(client(s3.url).stream("b", "k", size=said))


@pytest.mark.parametrize("chunked", [True, False])
@pytest.mark.parametrize(("size", "fits"), [(0, True), (99, True), (100, True), (101, False)])
def test_an_object_of_exactly_the_most_is_read(
    s3: FakeS3, chunked: bool, size: int, fits: bool
) -> None:
    s3.objects["/b/k"] = bytes(size)
    s3.faults = lambda: "chunked" if chunked else None
    made = client(s3.url)
    if fits:
        assert made.get("b", "k", max_bytes=100) == bytes(size)
    else:
        with pytest.raises(S3TooLargeError, match="at most 100 are read"):
            made.get("b", "k", max_bytes=100)
    s3.faults = lambda: None
    s3.objects["/b/other"] = b"other"
    assert made.get("b", "other") == b"other"


def test_get_object_takes_one_byte_and_a_part_and_no_more(
    s3: FakeS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PART_BYTES", 10)
    made = client(s3.url)
    s3.objects["/b/k"] = bytes(range(10))
    assert made.get_object(Bucket="b", Key="k")["Body"].read() == bytes(range(10))
    one = made.get_object(Bucket="b", Key="k", Range="bytes=3-3")["Body"]
    assert isinstance(one, io.BytesIO)
    assert one.read() == b"\x03"
    s3.objects["/b/k"] = bytes(11)
    with pytest.raises(S3TooLargeError):
        made.get_object(Bucket="b", Key="k")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"<Error><Code>AccessDenied</Code></Error>", "AccessDenied"),
        (b"<Code></Code>", ""),
        (b"<Code>X</Code>", "X"),
        (b"</Code><Code>", ""),
        (b"<Code>unfinished", ""),
        (b"", ""),
        (b"\xff<Code>A</Code>", "A"),
        (b" " * 1987 + b"<Code>A</Code>", ""),
    ],
)
def test_the_code_of_an_error_is_found_or_nothing(body: bytes, code: str) -> None:
    assert _error_code(body) == code


def test_a_missing_object_says_so_as_botocore_does(s3: FakeS3) -> None:
    with pytest.raises(S3NotFoundError, match="s3://b/nope: HTTP 404 NoSuchKey") as missing:
        client(s3.url).get("b", "nope")
    assert missing.value.response == {"Error": {"Code": "NoSuchKey"}}


def test_connections_are_kept_until_they_are_to_be_forgotten(s3: FakeS3) -> None:
    s3.objects["/b/k"] = b"content"
    made = client(s3.url)
    connections = []
    for _ in range(2):
        made.get("b", "k")
        connections.append(made._local.pool[s3.url.removeprefix("http://")])
    assert connections[0] is connections[1]
    made.forget_connections()
    made.get("b", "k")
    assert made._local.pool[s3.url.removeprefix("http://")] is not connections[0]
    assert connections[0].sock is None


@pytest.mark.parametrize(
    ("environ", "region", "endpoint"),
    [
        ({}, "us-east-1", None),
        ({"AWS_DEFAULT_REGION": "eu-west-1"}, "eu-west-1", None),
        ({"AWS_REGION": "eu-north-1", "AWS_DEFAULT_REGION": "eu-west-1"}, "eu-north-1", None),
        ({"AWS_ENDPOINT_URL": "http://a"}, "us-east-1", "http://a"),
        ({"AWS_ENDPOINT_URL_S3": "http://b", "AWS_ENDPOINT_URL": "http://a"}, "us-east-1",
         "http://b"),
    ],
)  # fmt: skip
def test_region_and_endpoint_are_the_environments(
    environ: dict[str, str], region: str, endpoint: str | None
) -> None:
    made = S3Client.from_env(environ, credentials=EnvironmentCredentials(environ))
    assert (made._region, made._endpoint) == (region, endpoint)


def test_an_endpoint_has_its_bucket_in_the_path() -> None:
    assert client("http://127.0.0.1:9/under/")._locate("b") == (
        "http", "127.0.0.1:9", "/under/b",
    )  # fmt: skip


def test_a_form_is_not_in_what_a_trace_would_show() -> None:
    assert "policy" not in repr(PresignedPost("https://b/", {"policy": "p"}))


def test_a_deadline_that_has_passed_leaves_a_moment_and_no_less() -> None:
    assert _Cut(time.monotonic() - 5).seconds_left() == 0.001
    assert 4 < _Cut(time.monotonic() + 5).seconds_left() <= 5


def past_its_deadline(error: Exception | None = None) -> None:
    with _Cut(time.monotonic()) as cut:
        while not cut._passed:
            time.sleep(0.001)
        if error is not None:
            raise error


def test_a_cut_without_its_deadline_is_silent_and_one_past_it_is_a_time_out() -> None:
    with _Cut(time.monotonic() + 60):
        pass
    for error in (None, OSError("reset")):
        with pytest.raises(TimeoutError, match="before the deadline"):
            past_its_deadline(error)
    # What is an answer stays one.
    with pytest.raises(S3TooLargeError):
        past_its_deadline(S3TooLargeError("large"))
