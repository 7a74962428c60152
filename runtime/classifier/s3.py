"""S3 in the few requests that the function makes.

boto3 takes about half a second of a cold start to import and to build its first client; these
requests need `http.client`, `hmac` and `hashlib`, and what only some of them need is imported
there.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import quote, urlsplit

from runtime.backoff import full_jitter
from runtime.classifier.credentials import Credentials, CredentialsError, EnvironmentCredentials
from runtime.classifier.signing import signed_form, signed_headers

if TYPE_CHECKING:
    from concurrent.futures import Future

PART_BYTES: Final = 8 * 1024 * 1024
"""Objects above this size are fetched in ranges of it, several at a time."""
PARALLEL_PARTS: Final = 6
_SUFFIXES: Final = {
    "cn-": "amazonaws.com.cn",
    "eusc-": "amazonaws.eu",
    "us-iso-": "c2s.ic.gov",
    "us-isob-": "sc2s.sgov.gov",
    "eu-isoe-": "cloud.adc-e.uk",
    "us-isof-": "csp.hci.ic.gov",
}
"""Of the hosts of AWS's partitions, by the beginning of their regions' names: botocore's
partitions.json. All others, GovCloud among them, are at amazonaws.com."""
_MOST_ERROR_BYTES: Final = 64 * 1024
_FAILED: Final = (OSError, http.client.HTTPException)


class S3Error(Exception):
    """A request failed for good, after the retries."""


class S3NotFoundError(S3Error):
    """The bucket has no such key."""

    response: Final = {"Error": {"Code": "NoSuchKey"}}
    """As botocore's errors have it, for `runtime.inference.store`."""


class S3TooLargeError(S3Error):
    """The object is larger than the caller wants."""


class RetryPolicy(NamedTuple):
    """How often and how patiently a failed request is made again (full jitter, seconds)."""

    attempts: int = 4
    base_seconds: float = 0.1
    cap_seconds: float = 1.0
    timeout_seconds: float = 5.0
    """Of one wait on the network."""
    deadline_seconds: float = 15.0
    """Of the whole request: all attempts, all pauses, and answers that come byte by byte."""


class PresignedPost(NamedTuple):
    """A form that may be posted once-or-more until it expires: where to, and its fields."""

    url: str
    fields: dict[str, str]

    def __repr__(self) -> str:
        """Without the fields, which let whoever has them upload."""
        return f"PresignedPost(url={self.url!r})"


class _Answer(NamedTuple):
    status: int
    body: bytes


class _Cut:
    """Shuts a request's socket down at `deadline` (monotonic seconds).

    A socket's own timeout begins anew with each byte, so it bounds no whole answer.

    Raises:
        TimeoutError: on leaving, when the deadline passed within.
    """

    def __init__(self, deadline: float) -> None:
        self._deadline = deadline
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._passed = False
        self._timer = threading.Timer(self.seconds_left(), self._pass)
        self._timer.daemon = True

    def seconds_left(self) -> float:
        return max(self._deadline - time.monotonic(), 0.001)

    def watch(self, connected: socket.socket) -> None:
        """From now on this one is shut down; at once when it is too late."""
        with self._lock:
            self._socket = connected
            if self._passed:
                self._shut()

    def __enter__(self) -> _Cut:
        self._timer.start()
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._timer.cancel()
        with self._lock:
            self._socket = None
            # S3TooLargeError and the like are answers, not cut ones.
            if self._passed and (error is None or isinstance(error, _FAILED)):
                raise TimeoutError("timed out: no whole answer before the deadline") from error

    def _pass(self) -> None:
        with self._lock:
            self._passed = True
            self._shut()

    def _shut(self) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):
                # Not SSLSocket's, which drops the TLS state under the thread that reads.
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)


class S3Client:
    """Get, put and presign for one region; connections are kept alive, one a thread."""

    def __init__(
        self,
        *,
        region: str,
        credentials: EnvironmentCredentials,
        endpoint: str | None = None,
        retry: RetryPolicy | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._region = region
        self._credentials = credentials
        self._endpoint = endpoint
        self._retry = retry or RetryPolicy()
        self._clock = clock
        self._sleep = sleep
        self._local = threading.local()
        self._generation = 0

    @classmethod
    def from_env(
        cls, environ: Mapping[str, str], *, credentials: EnvironmentCredentials
    ) -> S3Client:
        """The region's endpoint, or `AWS_ENDPOINT_URL_S3` / `AWS_ENDPOINT_URL`."""
        return cls(
            region=environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION") or "us-east-1",
            credentials=credentials,
            endpoint=environ.get("AWS_ENDPOINT_URL_S3") or environ.get("AWS_ENDPOINT_URL"),
        )

    def forget_connections(self) -> None:
        """Open new connections from now on: those of a snapshot are dead after a restore."""
        self._generation += 1
        self._credentials.forget()

    def get(self, bucket: str, key: str, *, max_bytes: int | None = None) -> bytes:
        """The whole object.

        Raises:
            S3NotFoundError, S3TooLargeError (an announced length is not read; of an answer in
            chunks no more than `max_bytes` and one), S3Error.
        """
        return self._request("GET", bucket, key, max_bytes=max_bytes).body

    def get_object(self, **kwargs: Any) -> dict[str, Any]:
        """boto3's call of that name, as `runtime.inference.store.ObjectClient` wants it: a part of
        an object, of which no more is read than `Range` asks for, or a small object.

        Raises:
            S3NotFoundError, S3TooLargeError, S3Error.
        """
        span = kwargs.get("Range")
        extra = {"range": str(span)} if span else None
        most = PART_BYTES
        if span:
            first, last = str(span).removeprefix("bytes=").split("-")
            most = int(last) - int(first) + 1
        where = str(kwargs["Bucket"]), str(kwargs["Key"])
        answer = self._request("GET", *where, extra=extra, max_bytes=most)
        return {"Body": io.BytesIO(answer.body)}

    def stream(self, bucket: str, key: str, *, size: int) -> Iterator[bytes]:
        """An object of known `size` bytes, in order, its next parts fetched meanwhile.

        Raises:
            S3NotFoundError, S3Error (also when the object has another size).
        """

        from concurrent.futures import ThreadPoolExecutor

        def fetch(start: int) -> bytes:
            stop = min(start + PART_BYTES, size)
            span = {"range": f"bytes={start}-{stop - 1}"}
            try:
                part = self._request("GET", bucket, key, extra=span, max_bytes=stop - start).body
            except S3TooLargeError:
                part = b""
            if len(part) != stop - start:
                raise S3Error(f"s3://{bucket}/{key} has another size than {size} bytes")
            return part

        with ThreadPoolExecutor(PARALLEL_PARTS, thread_name_prefix="s3-parts") as pool:
            under_way: deque[Future[bytes]] = deque()
            for start in range(0, size, PART_BYTES):
                under_way.append(pool.submit(fetch, start))
                if len(under_way) == PARALLEL_PARTS:
                    yield under_way.popleft().result()
            while under_way:
                yield under_way.popleft().result()

    def put(
        self,
        bucket: str,
        key: str,
        body: bytes,
        *,
        content_type: str,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        """Write an object; its metadata is ASCII, 2 KB at most. Raises `S3Error`."""
        extra = {f"x-amz-meta-{name}": value for name, value in (metadata or {}).items()}
        extra["content-type"] = content_type
        self._request("PUT", bucket, key, body=body, extra=extra)

    def presign_post(
        self, bucket: str, key: str, *, content_type: str, max_bytes: int, expires_seconds: int
    ) -> PresignedPost:
        """A form upload of at most `max_bytes` bytes of `content_type` to exactly `key`.

        Raises:
            S3Error: there are no credentials to sign with.
        """
        fields = signed_form(
            bucket,
            key,
            content_type=content_type,
            max_bytes=max_bytes,
            expires_seconds=expires_seconds,
            region=self._region,
            credentials=self._current_credentials(),
            now=self._clock(),
        )
        scheme, host, prefix = self._locate(bucket)
        return PresignedPost(f"{scheme}://{host}{prefix}/", fields)

    def _request(
        self,
        verb: str,
        bucket: str,
        key: str,
        *,
        body: bytes = b"",
        extra: Mapping[str, str] | None = None,
        max_bytes: int | None = None,
    ) -> _Answer:
        where = f"s3://{bucket}/{key}"
        deadline = time.monotonic() + self._retry.deadline_seconds
        failure = "no attempt"
        for attempt in range(self._retry.attempts):
            if attempt:
                pause = min(
                    full_jitter(
                        attempt, first=self._retry.base_seconds, longest=self._retry.cap_seconds
                    ),
                    deadline - time.monotonic(),
                )
                self._sleep(max(pause, 0.0))
            if time.monotonic() >= deadline:
                break
            try:
                with _Cut(deadline) as cut:
                    answer = self._once(
                        verb,
                        bucket,
                        key,
                        body=body,
                        extra=extra or {},
                        max_bytes=max_bytes,
                        cut=cut,
                    )
            except _FAILED as error:
                self._drop_connection()
                failure = str(error) or type(error).__name__
                continue
            if answer.status in {200, 204, 206}:
                return answer
            failure = f"HTTP {answer.status} {_error_code(answer.body)}".rstrip()
            if answer.status == 404:
                raise S3NotFoundError(f"{where}: {failure}")
            if answer.status < 500 and answer.status not in {408, 429}:
                break
        raise S3Error(f"{verb} {where} failed: {failure}")

    def _once(
        self,
        verb: str,
        bucket: str,
        key: str,
        *,
        body: bytes,
        extra: Mapping[str, str],
        max_bytes: int | None,
        cut: _Cut,
    ) -> _Answer:
        scheme, host, prefix = self._locate(bucket)
        path = f"{prefix}/{quote(key, safe='/-_.~')}"
        headers = signed_headers(
            verb,
            host,
            path,
            extra,
            region=self._region,
            credentials=self._current_credentials(),
            now=self._clock(),
        )
        connection = self._connection(scheme, host)
        if connection.sock is None:
            connection.timeout = min(self._retry.timeout_seconds, cut.seconds_left())
            connection.connect()
        cut.watch(connection.sock)
        connection.sock.settimeout(self._retry.timeout_seconds)
        connection.request(verb, path, body=body or None, headers=headers)
        with connection.getresponse() as response:
            length = response.length
            good = response.status in {200, 206}
            most = max_bytes if good else _MOST_ERROR_BYTES
            if most is None or (length is not None and length <= most):
                return _Answer(response.status, response.read())
            content = b"" if good and length is not None else response.read(most + 1)
            if length is None and len(content) <= most:
                return _Answer(response.status, content)
            self._drop_connection()
            if good:
                known = f"more than {most}" if length is None else length
                raise S3TooLargeError(f"the object has {known} bytes; at most {most} are read")
            return _Answer(response.status, content[:most])

    def _current_credentials(self) -> Credentials:
        try:
            return self._credentials.current()
        except CredentialsError as error:
            raise S3Error(str(error)) from error

    def _locate(self, bucket: str) -> tuple[str, str, str]:
        if self._endpoint is None:
            return "https", f"{bucket}.s3.{self._region}.{_suffix(self._region)}", ""
        parts = urlsplit(self._endpoint)
        return parts.scheme, parts.netloc, f"{parts.path.rstrip('/')}/{bucket}"

    def _connection(self, scheme: str, host: str) -> http.client.HTTPConnection:
        if getattr(self._local, "generation", None) != self._generation:
            self._drop_connection()
            self._local.generation = self._generation
        pool: dict[str, http.client.HTTPConnection] = self._local.__dict__.setdefault("pool", {})
        if host not in pool:
            kind = http.client.HTTPSConnection if scheme == "https" else http.client.HTTPConnection
            pool[host] = kind(host, timeout=self._retry.timeout_seconds)
        return pool[host]

    def _drop_connection(self) -> None:
        for connection in self._local.__dict__.pop("pool", {}).values():
            connection.close()


def _suffix(region: str) -> str:
    found = (suffix for start, suffix in _SUFFIXES.items() if region.startswith(start))
    return next(found, "amazonaws.com")


def _error_code(body: bytes) -> str:
    text = body[:2000].decode("utf-8", "replace")
    start, stop = text.find("<Code>"), text.find("</Code>")
    return text[start + 6 : stop] if 0 <= start < stop else ""
