from __future__ import annotations

import gzip
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from visionstack.classify.client import BackOff, ClassifierClient, ClassifierError
from visionstack.classify.many import Failure, classify_all, find_pictures
from visionstack.errors import UsageError

ANSWER = {
    "method": "recognition",
    **{f"TOP{n}_ID": str(n) for n in range(1, 6)},
    **{f"TOP{n}_softmax": 0.1 for n in range(1, 6)},
    **{f"TOP{n}_label": f"label {n}" for n in range(1, 6)},
    "time": 0.1,
    "file_path": "20261121/a.jpg",
    "model": {"name": "toy", "version": "v1", "trained": True},
    "environment": "e1",
    "cold": False,
    "timings": {"inference": 5.0},
}


class Service:
    """Answers from a list of statuses, then always 200; keeps what it was asked."""

    def __init__(
        self, *statuses: int, headers: dict[str, str] | None = None, code: str = "c"
    ) -> None:
        self.statuses = list(statuses)
        self.code = code
        self.headers = headers or {}
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        status = self.statuses.pop(0) if self.statuses else 200
        if status == 0:
            raise httpx.ConnectError("refused")
        if status != 200:
            code = "throttled" if (status, self.code) == (429, "c") else self.code
            body = {"code": code, "message": f"status {status}"}
            return httpx.Response(status, json=body, headers=self.headers)
        if request.url.path.endswith("/images"):
            form = {"url": "http://s3.test/", "fields": {"key": "k", "policy": "p"}}
            return httpx.Response(200, json={"file_path": "p/b.jpg", "upload": form})
        if request.url.host == "s3.test":
            return httpx.Response(204)
        return httpx.Response(200, json=ANSWER)


def make(
    service: Callable[[httpx.Request], httpx.Response], slept: list[float] | None = None,
    *, back_off: BackOff | None = None,
) -> ClassifierClient:  # fmt: skip
    record = slept if slept is not None else []
    return ClassifierClient(
        "http://api.test/v1", "key", transport=httpx.MockTransport(service),
        back_off=back_off, sleep=record.append, draw=lambda: 0.5,
    )  # fmt: skip


def test_a_picture_goes_in_the_body_with_the_key(tmp_path: Path) -> None:
    service = Service()
    (tmp_path / "a.jpg").write_bytes(b"jpeg")
    answer = make(service).classify(tmp_path / "a.jpg")
    request = service.requests[0]
    assert request.url.path == "/v1/recognitions"
    assert (request.headers["x-api-key"], request.headers["content-type"]) == ("key", "image/jpeg")
    assert request.content == b"jpeg"
    assert (answer.top[0].label, answer.environment, answer.attempts) == ("label 1", "e1", 1)
    assert json.loads(json.dumps(answer.to_json()))["top"][4]["id"] == "5"


def test_a_large_picture_is_uploaded_first_and_the_key_stays_with_the_api() -> None:
    service = Service()
    make(service).classify_bytes(bytes(5 * 1024 * 1024), name="b.jpg", content_type="image/jpeg")
    paths = [request.url.path for request in service.requests]
    assert paths == ["/v1/images", "/", "/v1/classification"]
    assert "x-api-key" not in service.requests[1].headers
    assert json.loads(service.requests[2].content)["file_path"] == "p/b.jpg"


def test_a_large_file_of_an_unknown_kind_is_refused_unsent() -> None:
    service = Service()
    with pytest.raises(ClassifierError, match="suffix") as caught:
        make(service).classify_bytes(bytes(5 * 1024 * 1024), name="b.raw")
    assert (caught.value.code, service.requests) == ("too_large", [])


def test_throttled_calls_are_made_again_with_jitter_after_what_was_asked_for() -> None:
    slept: list[float] = []
    service = Service(429, 429, 503, headers={"Retry-After": "2"})
    answer = make(service, slept).classify_stored("a.jpg")
    assert answer.attempts == 4
    assert slept == [2 + 0.5 * 0.2, 2 + 0.5 * 0.4, 2 + 0.5 * 0.8]


def test_a_throttled_function_that_the_gateway_reports_as_500_is_waited_for() -> None:
    service = Service(*[500] * 20, code="unavailable")
    assert make(service).classify_stored("a.jpg").attempts == 21


def test_a_key_whose_day_is_used_up_is_told_at_once() -> None:
    slept: list[float] = []
    with pytest.raises(ClassifierError) as caught:
        make(Service(429, code="quota_exceeded"), slept).classify_stored("a.jpg")
    assert (caught.value.code, slept) == ("quota_exceeded", [])


def test_the_back_off_is_capped() -> None:
    assert BackOff(cap=5).delay(60, 0, lambda: 1.0) == 5


def test_throttling_is_given_up_on_at_the_deadline() -> None:
    service = Service(*[429] * 1000)
    with pytest.raises(ClassifierError) as caught:
        make(service, back_off=BackOff(deadline=0.0)).classify_stored("a.jpg")
    assert (caught.value.status, caught.value.code) == (429, "throttled")


@pytest.mark.parametrize("status", [0, 500, 502, 504])
def test_a_failing_service_is_tried_a_few_times(status: int) -> None:
    assert make(Service(*[status] * 4)).classify_stored("a.jpg").attempts == 5
    service = Service(*[status] * 5)
    with pytest.raises(ClassifierError):
        make(service).classify_stored("a.jpg")
    assert len(service.requests) == 5


@pytest.mark.parametrize(
    ("url", "by_proxy"),
    [
        ("http://127.0.0.1:4566/prod", False),
        ("http://localhost:4566/prod", False),
        ("http://127.0.0.1.example.com/prod", True),
        ("https://abc.execute-api.us-east-1.amazonaws.com/prod", True),
    ],
)
def test_this_machine_is_never_asked_through_a_proxy(url: str, by_proxy: bool) -> None:
    assert ClassifierClient(url, "key")._http.trust_env is by_proxy


@pytest.mark.parametrize("status", [400, 403, 404, 413, 415, 422])
def test_a_refusal_is_final_and_carries_its_code_and_message(status: int) -> None:
    service = Service(status)
    with pytest.raises(ClassifierError, match=f"status {status}") as caught:
        make(service).classify_stored("a.jpg")
    assert (caught.value.status, len(service.requests)) == (status, 1)
    assert ("JPEG" in str(caught.value.remedy)) == (status == 422)


ODD = {
    "no JSON object": "<html>",
    "a list": "[]",
    "nothing": "",
    "nested without end": "[" * 100_000,
    "nested deeper than any answer": ANSWER | {"more": [[[[[[[["x"]]]]]]]]},
    "half a character": ANSWER | {"more": "\ud800"},
    "half a character as a name": ANSWER | {"more": {"\ud800": 1}},
    "no class": {key: value for key, value in ANSWER.items() if key != "TOP1_ID"},
    "no label": ANSWER | {"TOP1_label": None},
    "a share that is text": ANSWER | {"TOP5_softmax": "0.1"},
    "a share that is true": ANSWER | {"TOP5_softmax": True},
    "a share without a value": ANSWER | {"TOP5_softmax": float("nan")},
    "a share without an end": ANSWER | {"TOP5_softmax": float("inf")},
    "a share of many digits": ANSWER | {"TOP5_softmax": 10**4000},
    "a path that is a list": ANSWER | {"file_path": ["a"]},
    "an environment that is none": ANSWER | {"environment": None},
    "no model": ANSWER | {"model": "toy"},
    "a model without a name": ANSWER | {"model": {"version": "v1"}},
    "a version that is a list": ANSWER | {"model": {"name": "toy", "version": []}},
    "times that are text": ANSWER | {"timings": {"inference": "5"}},
    "a list of times": ANSWER | {"timings": [5.0]},
    "a time that is text": ANSWER | {"time": "soon"},
    "an engine of numbers": ANSWER | {"engine": {"name": 1}},
}


@pytest.mark.parametrize("kind", ODD)
def test_something_that_is_no_classifier_is_told(kind: str) -> None:
    odd = ODD[kind]
    text = odd if isinstance(odd, str) else json.dumps(odd)
    client = make(lambda request: httpx.Response(200, text=text))
    with pytest.raises(ClassifierError, match=r"a\.jpg: http://api\.test/v1\S* answered") as told:
        client.classify_stored("a.jpg")
    assert "address" in str(told.value.remedy)


FORM = {"url": "http://s3.test/", "fields": {"key": "k"}}


@pytest.mark.parametrize(
    "place",
    [
        {},
        {"file_path": "p/b.jpg"},
        {"file_path": 1, "upload": FORM},
        {"file_path": "p/b.jpg", "upload": [FORM]},
        {"file_path": "p/b.jpg", "upload": FORM | {"url": None}},
        {"file_path": "p/b.jpg", "upload": FORM | {"url": "http://[::1"}},
        {"file_path": "p/b.jpg", "upload": FORM | {"url": "file:///etc/passwd"}},
        {"file_path": "p/b.jpg", "upload": FORM | {"fields": ["key"]}},
        {"file_path": "p/b.jpg", "upload": FORM | {"fields": {"key": {"k": "v"}}}},
    ],
)
def test_an_upload_form_that_is_none_is_told(place: dict[str, object]) -> None:
    client = make(lambda request: httpx.Response(200, json=place))
    with pytest.raises(ClassifierError):
        client.upload(b"jpeg", "image/jpeg", name="b.jpg")


class Endless(httpx.SyncByteStream):
    """Gives pieces on and on; counts them."""

    def __init__(self, piece: bytes, *, pause: float = 0.0) -> None:
        self.piece, self.pause, self.given = piece, pause, 0

    def __iter__(self) -> Iterator[bytes]:
        while self.given < 10_000:
            time.sleep(self.pause)
            self.given += 1
            yield self.piece


@pytest.mark.parametrize("status", [200, 400])
def test_of_an_answer_without_an_end_a_mebibyte_is_read(status: int) -> None:
    answer = Endless(b" " * 65536)
    client = make(lambda request: httpx.Response(status, stream=answer))
    with pytest.raises(ClassifierError):
        client.classify_stored("a.jpg")
    assert answer.given <= 17


def test_a_packed_answer_is_neither_asked_for_nor_unpacked() -> None:
    """A thousandth of its size is sent."""
    packed = gzip.compress(json.dumps(ANSWER).encode())
    asked: list[str] = []

    def service(request: httpx.Request) -> httpx.Response:
        asked.append(request.headers["accept-encoding"])
        stream = httpx.ByteStream(packed)
        return httpx.Response(200, headers={"content-encoding": "gzip"}, stream=stream)

    with pytest.raises(ClassifierError, match="answered"):
        make(service).classify_stored("a.jpg")
    assert asked == ["identity"]


def test_an_answer_that_drips_is_no_answer() -> None:
    drips: list[Endless] = []

    def service(request: httpx.Request) -> httpx.Response:
        drips.append(Endless(b" ", pause=0.01))
        return httpx.Response(200, stream=drips[-1])

    client = ClassifierClient(
        "http://api.test/v1", "key", timeout=0.05,
        transport=httpx.MockTransport(service), sleep=lambda _: None,
    )  # fmt: skip
    with pytest.raises(ClassifierError, match="did not end") as told:
        client.classify_stored("a.jpg")
    assert (told.value.code, len(drips)) == ("unreachable", 5)
    assert all(drip.given <= 8 for drip in drips)


def test_of_a_refusal_what_is_text_is_told_and_no_more_than_a_line_of_it() -> None:
    def refused(body: object) -> ClassifierError:
        client = make(lambda request: httpx.Response(400, text=json.dumps(body)))
        with pytest.raises(ClassifierError) as told:
            client.classify_stored("a.jpg")
        return told.value

    for odd in ([], {"message": ["a"], "code": 5}, {"message": "\ud800", "code": "c"}):
        assert (refused(odd).message, refused(odd).code) == (
            "a.jpg: Bad Request (HTTP 400).",
            "http_400",
        )
    assert len(refused({"message": "x" * 10**5, "code": "y" * 10**5}).message) < 600
    assert len(refused({"code": "y" * 10**5}).code) < 600


@pytest.mark.parametrize(
    ("size", "remedy"), [(0, "Copy or download"), (10 * 1024 * 1024 + 1, "Send it smaller")]
)
def test_a_picture_that_cannot_fit_is_refused_unsent(size: int, remedy: str) -> None:
    service = Service()
    with pytest.raises(ClassifierError, match="bytes") as refused:
        make(service).classify_bytes(bytes(size), name="a.jpg")
    assert str(refused.value.remedy).startswith(remedy)
    assert service.requests == []


def test_every_picture_is_answered_or_listed_in_order(tmp_path: Path) -> None:
    for name in ("b.jpg", "a.png", "notes.txt", "sub/c.webp", "sub/d.heic", "._b.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    found = find_pictures([tmp_path, tmp_path / "b.jpg"])
    pictures = found.pictures
    assert [path.name for path in found.others] == ["notes.txt", "d.heic"]
    assert [path.name for path in pictures] == ["a.png", "b.jpg", "c.webp"]
    done: list[bool] = []

    def service(request: httpx.Request) -> httpx.Response:
        bad = request.headers["content-type"] == "image/webp"
        refusal = {"code": "not_a_picture", "message": "no"}
        return httpx.Response(422, json=refusal) if bad else httpx.Response(200, json=ANSWER)

    results = classify_all(make(service), pictures, concurrency=2, done=lambda: done.append(True))
    assert [Path(result.file).name for result in results] == ["a.png", "b.jpg", "c.webp"]
    assert isinstance(results[2], Failure)
    assert results[2].code == "not_a_picture"
    assert len(done) == 3


def test_a_path_that_is_not_there_is_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        find_pictures([tmp_path / "nope.jpg"])
    with pytest.raises(UsageError, match="no picture"):
        find_pictures([tmp_path])


def test_an_unreadable_file_is_a_failure_of_that_picture(tmp_path: Path) -> None:
    with pytest.raises(ClassifierError, match="cannot be read"):
        make(Service()).classify(tmp_path / "gone.jpg")
