from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from visionstack.classify.client import BackOff, Classification, Top
from visionstack.classify.load import run_steps, summarise_step
from visionstack.cli.load import parse_concurrency
from visionstack.cloud.deployment import ClassifierApi, Deployment
from visionstack.errors import UsageError, VisionstackError
from visionstack.paths import SAMPLES

TOP = {f"TOP{n}_{key}": "3" if key != "softmax" else 0.2 for n in range(1, 6)
       for key in ("ID", "label", "softmax")}  # fmt: skip


class Throttling(ThreadingHTTPServer):
    """Refuses every other call, as API Gateway does for a throttle of its own and for Lambda's."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.calls = 0
        self.seen: list[tuple[str, Message, bytes]] = []
        self.lock = threading.Lock()


class _Handler(BaseHTTPRequestHandler):
    server: Throttling
    protocol_version = "HTTP/1.1"
    wbufsize = 65536

    def do_POST(self) -> None:
        sent = self.rfile.read(int(self.headers["content-length"]))
        with self.server.lock:
            self.server.seen.append((self.path, self.headers, sent))
            self.server.calls += 1
            refused, by_lambda = self.server.calls % 2 == 0, self.server.calls % 4 == 0
        answer = {
            **TOP,
            "file_path": "a.jpg",
            "cold": False,
            "model": {"name": "m", "version": "v"},
        }
        refusal = {"code": "unavailable" if by_lambda else "throttled", "message": "m"}
        body = json.dumps(refusal if refused else answer).encode()
        self.send_response((500 if by_lambda else 429) if refused else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def service() -> Iterator[Throttling]:
    server = Throttling()
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_every_call_of_a_throttled_service_is_answered_in_the_end(service: Throttling) -> None:
    api = ClassifierApi(f"http://127.0.0.1:{service.server_address[1]}", "key")
    (step,) = run_steps(
        api, SAMPLES / "dog.jpg", concurrencies=[20], repeats=3,
        back_off=BackOff(base=0.01, cap=0.1, deadline=60.0),
    )  # fmt: skip
    assert (step.calls, step.answered, step.lost, step.wrong) == (60, 60, 0, 0)
    assert step.throttled > 20
    assert len(step.samples) == 60
    assert json.loads(json.dumps(step.to_json()))["concurrency"] == 20


def signature(path: str, headers: Message, body: bytes) -> str:
    """What botocore signs such a request with, as the gateway would check it."""
    signed = {"host": headers["host"], "content-type": headers["content-type"]}
    request = AWSRequest("POST", f"http://{headers['host']}{path}", signed, data=body)
    request.context["timestamp"] = request.headers["X-Amz-Date"] = headers["x-amz-date"]
    signer = SigV4Auth(Credentials("AKIDEXAMPLE", "a secret"), "execute-api", "eu-central-1")
    return signer.signature(
        signer.string_to_sign(request, signer.canonical_request(request)), request
    )


def test_every_call_to_an_api_with_auth_iam_is_signed_and_none_has_a_key(
    service: Throttling, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    signing = Deployment(cloud="aws", prefix="p", endpoint_url=None).signing()
    api = ClassifierApi(f"http://127.0.0.1:{service.server_address[1]}", "", signing, "aws")
    (step,) = run_steps(
        api, SAMPLES / "dog.jpg", concurrencies=[3], repeats=1,
        back_off=BackOff(base=0.01, cap=0.1, deadline=60.0),
    )  # fmt: skip
    assert (step.answered, step.lost) == (3, 0)
    assert {path for path, _, _ in service.seen} == {"/recognitions", "/classification"}
    for path, headers, body in service.seen:
        assert "x-api-key" not in headers
        assert headers["authorization"].endswith(f"Signature={signature(path, headers, body)}")


def test_callers_whose_credentials_end_lose_their_calls_and_the_run_still_ends(
    service: Throttling, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The process that issues credentials does so twice, the second time for a minute."""
    issuer = tmp_path / "issue.py"
    issuer.write_text(
        "import datetime, json, pathlib, sys\n"
        "asked = pathlib.Path(__file__).with_suffix('.asked')\n"
        "times = len(asked.read_text()) if asked.exists() else 0\n"
        "asked.write_text('x' * (times + 1))\n"
        "if times > 1:\n"
        "    sys.exit('the session has ended')\n"
        "ends = datetime.datetime.now(datetime.UTC)\n"
        "ends += datetime.timedelta(minutes=1 if times else 600)\n"
        "print(json.dumps({'Version': 1, 'AccessKeyId': 'A', 'SecretAccessKey': 's',\n"
        "                  'SessionToken': 't', 'Expiration': ends.isoformat()}))\n"
    )
    config = tmp_path / "config"
    config.write_text(
        f"[profile p]\nregion = eu-central-1\ncredential_process = {sys.executable} {issuer}\n"
    )
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    monkeypatch.setenv("AWS_PROFILE", "p")
    signing = Deployment(cloud="aws", prefix="p", endpoint_url=None).signing()
    api = ClassifierApi(f"http://127.0.0.1:{service.server_address[1]}", "", signing, "aws")
    with pytest.raises(VisionstackError, match=r"None of 3 calls was answered \(no_credentials\)"):
        list(run_steps(api, SAMPLES / "dog.jpg", concurrencies=[3], repeats=1))
    assert {path for path, _, _ in service.seen} == {"/recognitions"}


def sample(**changed: Any) -> dict[str, Any]:
    return {"asked": 10.0, "seconds": 2.0, "answer_seconds": 1.0, "throttled": 1, "failed": 0,
            "status": 200, "top": "3", "cold": False, **changed}  # fmt: skip


FIRST = Classification(
    file="dog.jpg",
    file_path="dog.jpg",
    top=(Top("3", "tench", 0.9),),
    model={"name": "resnet50", "version": "1", "trained": False},
    cold=False,
    environment="e",
    seconds=1.0,
    attempts=1,
    timings={},
    response={},
)


def test_lost_and_wrong_calls_are_counted() -> None:
    samples = [sample(), sample(top="4", asked=11.0), sample(status=429, seconds=9.0)]
    step = summarise_step(samples, concurrency=3, calls=4, first=FIRST)
    assert step.to_json()["model"] == FIRST.model
    assert (step.answered, step.lost, step.wrong, step.throttled) == (2, 2, 1, 3)
    assert step.seconds == 3.0
    assert step.throughput == pytest.approx(2 / 3)


def test_a_step_without_an_answer_is_an_error_with_the_reason() -> None:
    with pytest.raises(VisionstackError, match="forbidden"):
        summarise_step([sample(status=403, code="forbidden")], concurrency=1, calls=1, first=FIRST)


def test_concurrency_is_a_number_or_a_span_in_the_papers_steps() -> None:
    assert parse_concurrency("7") == [7]
    assert parse_concurrency("100..1500") == list(range(100, 1501, 100))
    assert parse_concurrency("100..500:200") == [100, 300, 500]


@pytest.mark.parametrize("text", ["", "0", "many", "-1", "500..100", "1..9:0", "99999", "1..2..3"])
def test_another_concurrency_is_wrong_usage(text: str) -> None:
    with pytest.raises(UsageError, match="--concurrency"):
        parse_concurrency(text)
