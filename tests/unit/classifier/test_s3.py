from __future__ import annotations

import contextlib
import functools
import itertools
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from runtime.backoff import full_jitter
from runtime.classifier.credentials import Credentials, CredentialsError
from runtime.classifier.s3 import (
    PARALLEL_PARTS,
    RetryPolicy,
    S3Client,
    S3Error,
    S3NotFoundError,
    S3TooLargeError,
)

NOW = datetime(2026, 11, 21, 20, 30, tzinfo=UTC)
QUICK = RetryPolicy(attempts=8, base_seconds=0.0, timeout_seconds=5.0)


class FixedCredentials:
    def __init__(self, token: str | None) -> None:
        self.value = Credentials("AKID", "secret", token)
        self.forgotten = 0

    def current(self) -> Credentials:
        return self.value

    def forget(self) -> None:
        self.forgotten += 1


class FakeS3(ThreadingHTTPServer):
    """Objects by path; `faults` is called before each request and may name a fault."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.objects: dict[str, bytes] = {}
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.faults: Any = lambda: None
        self.released = threading.Event()
        self.sent = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: FakeS3
    protocol_version = "HTTP/1.1"
    wbufsize = 65536

    def _serve(self) -> None:
        length = int(self.headers.get("content-length") or 0)
        body = self.rfile.read(length)
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.requests.append((self.command, self.path, headers))
        fault = self.server.faults()
        if fault == "cut":
            self.close_connection = True
            return
        if fault == "mute":
            self.server.released.wait(30)
            self.close_connection = True
            return
        if isinstance(fault, tuple):
            self._answer(*fault)
        elif isinstance(fault, int):
            self._answer(fault, b"<Error><Code>SlowDown</Code></Error>")
        elif self.command == "PUT":
            self.server.objects[self.path] = body
            self._answer(200, b"")
        elif self.path not in self.server.objects:
            self._answer(404, b"<Error><Code>NoSuchKey</Code></Error>")
        else:
            content = self.server.objects[self.path]
            status = 200
            if "range" in headers and fault != "whole":
                first, last = headers["range"].removeprefix("bytes=").split("-")
                content, status = content[int(first) : int(last) + 1], 206
            if fault in ("chunked", "chunked and cut", "whole"):
                self._answer_in_chunks(status, content, whole=fault != "chunked and cut")
            elif fault == "drip":
                self._drip()
            elif fault == "short":
                self._answer(status, content, cut=len(content) // 2)
            else:
                self._answer(status, content)

    def do_GET(self) -> None:
        self._serve()

    def do_PUT(self) -> None:
        self._serve()

    def _answer(self, status: int, content: bytes, *, cut: int | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content if cut is None else content[:cut])
        if cut is not None:
            self.close_connection = True

    def _answer_in_chunks(self, status: int, content: bytes, *, whole: bool) -> None:
        self.send_response(status)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        with contextlib.suppress(OSError):
            for start in range(0, len(content), 100):
                part = content[start : start + 100]
                self.wfile.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")
                self.wfile.flush()
                self.server.sent += len(part)
            if whole:
                self.wfile.write(b"0\r\n\r\n")
                return
        self.close_connection = True

    def _drip(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "1000000")
        self.end_headers()
        self.close_connection = True
        with contextlib.suppress(OSError):
            while not self.server.released.wait(0.05):
                self.wfile.write(b".")
                self.wfile.flush()

    def log_message(self, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def s3() -> Iterator[FakeS3]:
    server = FakeS3()
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield server
    server.released.set()
    server.shutdown()
    thread.join()
    server.server_close()


def client(
    endpoint: str | None, *, retry: RetryPolicy = QUICK, token: str | None = None
) -> S3Client:
    return S3Client(
        region="eu-west-1", credentials=FixedCredentials(token), endpoint=endpoint,
        retry=retry, clock=lambda: NOW, sleep=lambda seconds: None,
    )  # fmt: skip


def test_what_was_put_is_got(s3: FakeS3) -> None:
    made = client(s3.url)
    made.put("b", "pictures/a b.jpg", b"bytes", content_type="image/jpeg")
    assert made.get("b", "pictures/a b.jpg") == b"bytes"
    assert s3.requests[0][2]["content-type"] == "image/jpeg"


def test_a_missing_key_is_told_apart_and_not_tried_again(s3: FakeS3) -> None:
    with pytest.raises(S3NotFoundError):
        client(s3.url).get("b", "nope")
    assert len(s3.requests) == 1


def test_an_object_over_the_limit_is_not_read(s3: FakeS3) -> None:
    s3.objects["/b/k"] = bytes(1000)
    made = client(s3.url)
    with pytest.raises(S3TooLargeError, match="1000 bytes; at most 999"):
        made.get("b", "k", max_bytes=999)
    assert len(made.get("b", "k", max_bytes=1000)) == 1000


def test_a_large_object_comes_in_ranges_and_in_order(
    s3: FakeS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runtime.classifier.s3.PART_BYTES", 1000)
    content = bytes(number % 251 for number in range(10_500))
    s3.objects["/b/k"] = content
    assert b"".join(client(s3.url).stream("b", "k", size=len(content))) == content
    assert len(s3.requests) == 11
    with pytest.raises(S3Error, match="another size"):
        list(client(s3.url).stream("b", "k", size=len(content) + 5))


@pytest.mark.parametrize("fault", [500, 503, 429, "cut", "short"])
def test_a_request_that_fails_half_the_time_succeeds_in_the_end(s3: FakeS3, fault: object) -> None:
    s3.objects["/b/k"] = b"content"
    every_other = itertools.cycle([fault, None, None, fault, fault, None])
    s3.faults = lambda: next(every_other)
    made = client(s3.url)
    assert [made.get("b", "k") for _ in range(20)] == [b"content"] * 20
    assert len(s3.requests) > 25


def test_a_store_that_is_slow_to_answer_is_asked_again(s3: FakeS3) -> None:
    s3.objects["/b/k"] = b"content"
    once = iter(["mute"])
    s3.faults = lambda: next(once, None)
    patient = RetryPolicy(attempts=3, base_seconds=0, timeout_seconds=0.2, deadline_seconds=60)
    assert client(s3.url, retry=patient).get("b", "k") == b"content"
    assert len(s3.requests) == 2


def test_a_store_that_stays_slow_is_given_up_on_at_the_deadline(s3: FakeS3) -> None:
    s3.faults = lambda: "mute"
    retry = RetryPolicy(attempts=100, base_seconds=0, timeout_seconds=0.1, deadline_seconds=0.3)
    with pytest.raises(S3Error, match="timed out"):
        client(s3.url, retry=retry).get("b", "k")
    assert len(s3.requests) < 10


def test_an_answer_that_comes_byte_by_byte_is_cut_at_the_deadline(s3: FakeS3) -> None:
    s3.objects["/b/k"] = b"content"
    s3.faults = lambda: "drip"
    # A release after 20 s ends the drip; each single wait is far below the timeout.
    release = threading.Timer(20, s3.released.set)
    release.start()
    retry = RetryPolicy(attempts=1, timeout_seconds=5, deadline_seconds=0.5)
    with pytest.raises(S3Error, match="before the deadline"):
        client(s3.url, retry=retry).get("b", "k")
    assert not s3.released.is_set()
    release.cancel()


def test_a_chunked_answer_is_held_to_the_limit_too(s3: FakeS3) -> None:
    s3.objects["/b/k"] = bytes(1000)
    s3.faults = lambda: "chunked"
    made = client(s3.url)
    assert len(made.get("b", "k", max_bytes=1000)) == 1000
    with pytest.raises(S3TooLargeError, match="more than 999 bytes; at most 999"):
        made.get("b", "k", max_bytes=999)
    s3.objects["/b/k"] = bytes(50_000_000)
    with pytest.raises(S3TooLargeError):
        made.get("b", "k", max_bytes=10_000)
    assert s3.sent < 45_000_000


def test_a_store_that_only_fails_is_given_up_on_with_its_reason(s3: FakeS3) -> None:
    s3.faults = lambda: 503
    with pytest.raises(S3Error, match="HTTP 503 SlowDown"):
        client(s3.url).get("b", "k")
    assert len(s3.requests) == QUICK.attempts


def test_a_refusal_is_not_tried_again(s3: FakeS3) -> None:
    s3.faults = lambda: 403
    with pytest.raises(S3Error, match="HTTP 403"):
        client(s3.url).get("b", "k")
    assert len(s3.requests) == 1


def test_a_store_that_is_not_there_is_given_up_on() -> None:
    with pytest.raises(S3Error, match="failed"):
        client("http://127.0.0.1:9").get("b", "k")


def test_after_a_restore_connections_and_credentials_are_new(s3: FakeS3) -> None:
    credentials = FixedCredentials(None)
    made = S3Client(region="r", credentials=credentials, endpoint=s3.url, retry=QUICK)
    s3.objects["/b/k"] = b"1"
    made.get("b", "k")
    before = made._connection("http", s3.url.removeprefix("http://"))
    made.forget_connections()
    assert made.get("b", "k") == b"1"
    assert made._connection("http", s3.url.removeprefix("http://")) is not before
    assert credentials.forgotten == 1


def test_pauses_between_attempts_double_up_to_a_cap_and_are_spread_from_nothing(
    s3: FakeS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Full jitter: random between 0 and min(cap, base x 2^attempt); before the first, none.

    https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
    """
    pauses: list[float] = []
    drawn = functools.partial(full_jitter, draw=lambda: 0.25)
    monkeypatch.setattr("runtime.classifier.s3.full_jitter", drawn)
    s3.faults = lambda: 503
    made = S3Client(
        region="r",
        credentials=FixedCredentials(None),
        endpoint=s3.url,
        retry=RetryPolicy(attempts=6, base_seconds=0.1, cap_seconds=1.0, deadline_seconds=60),
        sleep=pauses.append,
    )
    with pytest.raises(S3Error):
        made.get("b", "k")
    assert pauses == pytest.approx([high / 4 for high in (0.2, 0.4, 0.8, 1.0, 1.0)])
    assert len(s3.requests) == 6


def test_an_answer_in_chunks_is_read_whole_and_one_cut_short_is_asked_for_again(
    s3: FakeS3,
) -> None:
    s3.objects["/b/k"] = b"an answer of unknown length"
    faults = iter(["chunked", "chunked and cut", "chunked"])
    s3.faults = lambda: next(faults)
    made = client(s3.url)
    assert made.get("b", "k", max_bytes=100) == b"an answer of unknown length"
    assert made.get("b", "k") == b"an answer of unknown length"
    assert len(s3.requests) == 3


def test_get_object_answers_as_boto3_does(s3: FakeS3) -> None:
    s3.objects["/b/k"] = b"0123456789"
    made = client(s3.url)
    assert made.get_object(Bucket="b", Key="k")["Body"].read() == b"0123456789"
    assert "range" not in s3.requests[-1][2]
    part = made.get_object(Bucket="b", Key="k", Range="bytes=2-4")
    assert (part["Body"].read(2), part["Body"].read()) == (b"23", b"4")
    with pytest.raises(S3NotFoundError) as missing:
        made.get_object(Bucket="b", Key="nope")
    assert missing.value.response["Error"]["Code"] == "NoSuchKey"


def test_get_object_reads_no_more_than_was_asked_for(
    s3: FakeS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = client(s3.url)
    s3.objects["/b/k"] = bytes(50_000_000)
    # A store that takes no notice of ranges.
    s3.faults = lambda: "whole"
    with pytest.raises(S3TooLargeError, match="at most 3"):
        made.get_object(Bucket="b", Key="k", Range="bytes=2-4")
    monkeypatch.setattr("runtime.classifier.s3.PART_BYTES", 1000)
    with pytest.raises(S3TooLargeError, match="at most 1000"):
        made.get_object(Bucket="b", Key="k")
    assert s3.sent < 45_000_000


def test_parts_are_fetched_side_by_side_but_no_further_ahead_than_that(
    s3: FakeS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runtime.classifier.s3.PART_BYTES", 10)
    content = bytes(range(200))
    s3.objects["/b/k"] = content
    together = threading.Barrier(PARALLEL_PARTS, timeout=100)
    numbers = itertools.count()
    further = threading.Event()

    def wait_for_each_other() -> None:
        if next(numbers) < PARALLEL_PARTS:
            together.wait()
        else:
            further.set()

    s3.faults = wait_for_each_other
    parts = client(s3.url, retry=RetryPolicy(attempts=1, timeout_seconds=120)).stream(
        "b", "k", size=len(content)
    )
    assert next(parts) == content[:10]
    assert not further.wait(0.5)
    assert next(parts) == content[10:20]
    assert len(s3.requests) <= PARALLEL_PARTS + 1
    assert b"".join(parts) == content[20:]
    assert len(s3.requests) == 20


def test_without_credentials_nothing_is_sent_and_the_reason_is_told(s3: FakeS3) -> None:
    class Expired(FixedCredentials):
        def current(self) -> Credentials:
            raise CredentialsError("the credentials endpoint failed: expired")

    made = S3Client(region="r", credentials=Expired(None), endpoint=s3.url, retry=QUICK)
    with pytest.raises(S3Error, match="expired"):
        made.get("b", "k")
    with pytest.raises(S3Error, match="expired"):
        made.presign_post("b", "k", content_type="image/png", max_bytes=1, expires_seconds=1)
    assert s3.requests == []


def test_a_session_token_is_sent_and_signed(s3: FakeS3) -> None:
    s3.objects["/b/k"] = b"content"
    client(s3.url, token="tok/en=").get("b", "k")
    headers = s3.requests[-1][2]
    assert headers["x-amz-security-token"] == "tok/en="
    assert "x-amz-security-token" in headers["authorization"]
