from __future__ import annotations

import json
from collections.abc import Callable
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


@pytest.mark.parametrize("status", [400, 403, 404, 413, 415, 422])
def test_a_refusal_is_final_and_carries_its_code_and_message(status: int) -> None:
    service = Service(status)
    with pytest.raises(ClassifierError, match=f"status {status}") as caught:
        make(service).classify_stored("a.jpg")
    assert (caught.value.status, len(service.requests)) == (status, 1)
    assert ("JPEG" in str(caught.value.remedy)) == (status == 422)


def test_something_that_is_no_classifier_is_told() -> None:
    client = make(lambda request: httpx.Response(200, text="<html>"))
    with pytest.raises(ClassifierError, match="no JSON object"):
        client.classify_stored("a.jpg")


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
    for name in ("b.jpg", "a.png", "notes.txt", "sub/c.webp"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    pictures = find_pictures([tmp_path, tmp_path / "b.jpg"])
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
