"""The classifier's client: pictures in, top 5 out, with back-off until every one is answered.

`ClassifierClient` is safe to use from several threads. A picture up to `MAX_DIRECT_BYTES` goes in
the body of one call; a larger one is uploaded by a presigned form first, since Lambda takes 6 MB of
base64 at most.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import httpx

from runtime.backoff import full_jitter
from runtime.contract import MAX_PICTURE_BYTES, Route
from runtime.protocol.loopback import is_loopback
from visionstack.classify.answers import Fields, OddFieldError, read_object
from visionstack.errors import VisionstackError

if TYPE_CHECKING:
    from visionstack.cloud.deployment import ClassifierApi, Deployment
    from visionstack.cloud.signing import SignedRequests

MAX_DIRECT_BYTES: Final = 4 * 1024 * 1024
CONTENT_TYPES: Final = {
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".png": "image/png",
    ".webp": "image/webp",
    ".gif": "image/gif",
    ".bmp": "image/bmp",
    ".tif": "image/tiff",
    ".tiff": "image/tiff",
}
"""File suffixes that are taken for pictures, and what they are sent as."""
_AGAIN: Final = {500, 502, 504}
_ANSWER_BYTES: Final = 1024 * 1024
"""Of an answer that is read; the function's take a few KiB."""
_REASON_LENGTH: Final = 500
"""Characters of a refusal's message that are shown."""


class ClassifierError(VisionstackError):
    """A call failed for good. `status` is the HTTP status, 0 when there was no answer."""

    def __init__(
        self, message: str, *, status: int = 0, code: str = "", remedy: str | None = None
    ) -> None:
        super().__init__(message, remedy=remedy)
        self.status = status
        self.code = code


@dataclass(frozen=True, kw_only=True)
class BackOff:
    """How a refused call is made again: full jitter below a doubling ceiling, in seconds.

    `Retry-After` is a lower bound. What `is_busy` is waited out until `deadline`; other server
    errors are tried `server_error_attempts` times.
    """

    base: float = 0.1
    cap: float = 5.0
    deadline: float = 180.0
    server_error_attempts: int = 5

    def delay(self, attempt: int, retry_after: float, draw: Callable[[], float]) -> float:
        """Seconds before attempt number `attempt` + 1 (from 1); `draw` gives [0, 1)."""
        return retry_after + full_jitter(attempt, first=self.base, longest=self.cap, draw=draw)


def is_busy(status: int, code: object) -> bool:
    """Whether an answer says no more than that there is no room for the call now.

    API Gateway turns Lambda's own 429 into a 500 of its own, with the code that the stack gives to
    errors of the gateway; an error of the function itself has another. A key whose day is used up
    is no such answer.
    """
    if code == "quota_exceeded":
        return False
    return status in {429, 503} or (status == 500 and code == "unavailable")


@dataclass(frozen=True)
class Top:
    """A class of an answer and its share of the softmax."""

    id: str
    label: str
    softmax: float


@dataclass(frozen=True, kw_only=True)
class Classification:
    """An answered picture.

    Attributes:
        file: what was asked about, as the caller named it.
        file_path: the picture's path in the service.
        top: up to five classes, best first.
        model: name, version and whether its weights are trained.
        cold: whether the call waited for an environment's initialisation.
        environment: id of the execution environment that answered.
        seconds: wall time at the client, from the first byte sent to the last received, of the
            attempt that was answered.
        attempts: calls made, with those that were throttled.
        timings: milliseconds inside the function, by step.
        response: the whole answer.
    """

    file: str
    file_path: str
    top: tuple[Top, ...]
    model: dict[str, Any]
    cold: bool
    environment: str
    seconds: float
    attempts: int
    timings: dict[str, float]
    response: dict[str, Any] = field(repr=False)

    def to_json(self) -> dict[str, Any]:
        """As reports and `--json` hold it."""
        return {
            "file": self.file,
            "file_path": self.file_path,
            "model": self.model,
            "top": [vars(one) for one in self.top],
            "cold": self.cold,
            "environment": self.environment,
            "seconds": self.seconds,
            "attempts": self.attempts,
            "timings": self.timings,
        }


@dataclass(frozen=True)
class _Answered:
    body: dict[str, Any]
    seconds: float
    attempts: int


class ClassifierClient:
    """Calls one deployment's classifier API."""

    def __init__(
        self,
        url: str,
        key: str,
        *,
        signing: SignedRequests | None = None,
        back_off: BackOff | None = None,
        timeout: float = 60.0,
        connections: int = 100,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
        draw: Callable[[], float] = random.random,
    ) -> None:
        """`url` without a slash at its end; `key` goes into `x-api-key`, not at all when it is
        empty; `signing` signs, for a stack with auth=iam; `timeout` in seconds."""
        self._url = url
        # Key and signature go with each call to the API, and not with uploads, which go to S3.
        self._key = {"x-api-key": key} if key else {}
        self._signing = signing
        self._back_off = back_off or BackOff()
        self._timeout = timeout
        self._sleep = sleep
        self._draw = draw
        self._http = httpx.Client(
            timeout=httpx.Timeout(timeout, pool=None),
            limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
            # Packed, a few KiB are many megabytes.
            headers={"accept-encoding": "identity"},
            transport=transport,
            trust_env=not is_loopback(httpx.URL(url).host),
        )

    @classmethod
    def of(
        cls, deployment: Deployment, *, connections: int = 100, timeout: float = 60.0
    ) -> ClassifierClient:
        """The client of a deployment. Raises `VisionstackError` when it is not deployed."""
        return cls.at(deployment.classifier_api(), connections=connections, timeout=timeout)

    @classmethod
    def at(
        cls, api: ClassifierApi, *, connections: int = 100, timeout: float = 60.0
    ) -> ClassifierClient:
        """The client of an API, with its key or its signature; `timeout` in seconds."""
        return cls(api.url, api.key, signing=api.signing, connections=connections, timeout=timeout)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def classify(self, path: Path) -> Classification:
        """Classify a local picture.

        Raises:
            ClassifierError: the file cannot be read or is too large, the service refused it, or
                did not answer before the back-off's deadline, or not as a classifier does.
        """
        try:
            data = path.read_bytes()
        except OSError as error:
            raise ClassifierError(
                f"{path} cannot be read: {error.strerror or error}.",
                code="unreadable",
                remedy="Name a picture file, or a folder of them.",
            ) from error
        content_type = CONTENT_TYPES.get(path.suffix.lower(), "application/octet-stream")
        return self.classify_bytes(data, name=str(path), content_type=content_type)

    def classify_bytes(
        self, data: bytes, *, name: str, content_type: str = "application/octet-stream"
    ) -> Classification:
        """Classify a picture in memory; `name` is what the answer and errors call it. Raises as
        `classify`."""
        if not 0 < len(data) <= MAX_PICTURE_BYTES:
            raise ClassifierError(
                f"{name} has {len(data):,} bytes; the service takes 1 to {MAX_PICTURE_BYTES:,}.",
                code="too_large" if data else "empty",
                remedy="Send it smaller or compress it more."
                if data
                else "Copy or download the file again.",
            )
        if len(data) > MAX_DIRECT_BYTES:
            if content_type not in CONTENT_TYPES.values():
                raise ClassifierError(
                    f"{name} has {len(data):,} bytes; above {MAX_DIRECT_BYTES:,} a picture is"
                    " uploaded, and its file name does not say what kind it is.",
                    code="too_large",
                    remedy=f"Give it its suffix: {', '.join(CONTENT_TYPES)}.",
                )
            return self.classify_stored(self.upload(data, content_type, name=name), name=name)
        answered = self._post(
            Route.RECOGNITIONS, name=name, content=data, content_type=content_type
        )
        return self._classification(name, answered)

    def classify_stored(self, file_path: str, *, name: str | None = None) -> Classification:
        """Classify a picture that lies in the service's storage already. Raises as `classify`."""
        body = {"method": "classification", "file_path": file_path}
        answered = self._post(Route.CLASSIFICATION, name=name or file_path, json=body)
        return self._classification(name or file_path, answered)

    def upload(self, data: bytes, content_type: str, *, name: str) -> str:
        """Upload by a presigned form; returns the `file_path`. Raises as `classify`."""
        body = {"method": "images", "content_type": content_type}
        place = Fields(self._post(Route.IMAGES, name=name, json=body).body)
        try:
            file_path, form = place.text("file_path"), Fields(place.object("upload"))
            url, fields = form.web_address("url"), form.object("fields", of=str)
        except OddFieldError as odd:
            raise self._no_classifier(name, str(odd)) from odd
        self._send(url, name=name, data=fields, files={"file": (name, data, content_type)})
        return file_path

    def wakeup(self, sleep_ms: int) -> dict[str, Any]:
        """One wake-up of `sleep_ms` milliseconds; the service's answer. Raises as `classify`."""
        body = {"method": "wakeup", "sleep_time": str(sleep_ms)}
        return self._post(Route.WAKEUP, name="wake-up", json=body).body

    def _post(
        self, route: str, *, name: str, content_type: str = "application/json", **request: Any
    ) -> _Answered:
        return self._send(
            self._url + route,
            name=name,
            headers={**self._key, "content-type": content_type},
            auth=self._signing or httpx.USE_CLIENT_DEFAULT,
            **request,
        )

    def _send(self, url: str, *, name: str, **request: Any) -> _Answered:
        started = time.monotonic()
        attempt = 0
        while True:
            attempt += 1
            sent = time.perf_counter()
            response: httpx.Response | None = None
            try:
                with self._http.stream("POST", url, **request) as response:
                    data = self._read(response)
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                failure = ClassifierError(
                    f"{name}: the service does not answer: {error or type(error).__name__}.",
                    code="unreachable",
                    remedy="Look at `visionstack local status`, or at your network.",
                )
            except VisionstackError as error:
                raise ClassifierError(
                    f"{name}: {error.message}", code="no_credentials", remedy=error.remedy
                ) from error
            else:
                body = {} if data == b"" else read_object(data)
                if response.is_success:
                    seconds = time.perf_counter() - sent
                    if body is None:
                        what = "no JSON object of up to 1 MiB"
                        raise self._no_classifier(name, what, url=url)
                    return _Answered(body, seconds, attempt)
                failure = self._refusal(response, body or {}, name)
            asked = response.headers.get("retry-after") if response is not None else None
            delay = self._back_off.delay(attempt, retry_seconds(asked), self._draw)
            late = time.monotonic() - started + delay > self._back_off.deadline
            if late or not self._worth_another(failure, attempt):
                raise failure
            self._sleep(delay)

    def _read(self, response: httpx.Response) -> bytes:
        """The answer's body; what is packed or too long is cut, and is no JSON then. Raises
        `httpx.ReadTimeout` where it does not end within the timeout."""
        if response.headers.get("content-encoding", "identity") != "identity":
            return b"packed"
        until = time.monotonic() + self._timeout
        data = bytearray()
        for piece in response.iter_bytes():
            data += piece
            if len(data) > _ANSWER_BYTES:
                return b"too long"
            if time.monotonic() > until:
                raise httpx.ReadTimeout(f"its answer did not end within {self._timeout:g} s")
        return bytes(data)

    def _no_classifier(self, name: str, what: str, *, url: str = "") -> ClassifierError:
        return ClassifierError(
            f"{name}: {(url or self._url)[:_REASON_LENGTH]} answered with something that is no"
            f" answer of a classifier: {what}.",
            status=200,
            code="odd_answer",
            remedy="Is this the address of a visionstack classifier?",
        )

    def _classification(self, name: str, answered: _Answered) -> Classification:
        try:
            return _classification(name, answered)
        except OddFieldError as odd:
            raise self._no_classifier(name, str(odd)) from odd

    def _refusal(
        self, response: httpx.Response, body: dict[str, Any], name: str
    ) -> ClassifierError:
        status = response.status_code
        message, code = (
            said if isinstance(said, str) else "" for said in map(body.get, ("message", "code"))
        )
        message = message[:_REASON_LENGTH] or response.reason_phrase or "no reason given"
        code = code[:_REASON_LENGTH] or f"http_{status}"
        return ClassifierError(
            f"{name}: {message.rstrip('.')} (HTTP {status}).",
            status=status,
            code=code,
            remedy=self._remedy(response, code),
        )

    def _remedy(self, response: httpx.Response, code: str) -> str | None:
        if response.status_code == 422:
            return "Leave out what is no picture, or save it anew as JPEG, PNG or WebP."
        if response.status_code != 403:
            return None
        if self._signing is None:
            return (
                "The API key is missing or wrong; `visionstack classify` takes it from the stack."
            )
        return self._signing.remedy(self._url, code=code)

    def _worth_another(self, failure: ClassifierError, attempt: int) -> bool:
        if is_busy(failure.status, failure.code):
            return True
        again = failure.status in _AGAIN or failure.status == 0
        return again and attempt < self._back_off.server_error_attempts


def _classification(name: str, answered: _Answered) -> Classification:
    """Raises `OddFieldError`."""
    body = Fields(answered.body)
    places = [1, *(place for place in range(2, 6) if f"TOP{place}_ID" in answered.body)]
    top = tuple(
        Top(body.text(f"TOP{n}_ID"), body.text(f"TOP{n}_label", ""), body.number(f"TOP{n}_softmax"))
        for n in places
    )
    model = body.object("model")
    for key in ("name", "version"):
        Fields(model).text(key)
    # What reports read of the whole answer.
    body.number("time", 0.0)
    body.object("engine", {}, of=str)
    return Classification(
        file=name,
        file_path=body.text("file_path", ""),
        top=top,
        model=model,
        cold=answered.body.get("cold") is True,
        environment=body.text("environment", ""),
        seconds=answered.seconds,
        attempts=answered.attempts,
        timings=body.object("timings", {}, of=float),
        response=answered.body,
    )


def retry_seconds(text: str | None) -> float:
    """`Retry-After` in seconds, at most 30; 0 where there is none, or a date."""
    return min(float(text), 30.0) if text and text.isascii() and text.isdigit() else 0.0
