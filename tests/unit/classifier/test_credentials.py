from __future__ import annotations

import json
import threading
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from botocore.utils import ContainerMetadataFetcher

from runtime.classifier.credentials import (
    Credentials,
    CredentialsError,
    EnvironmentCredentials,
)


class Endpoint(ThreadingHTTPServer):
    """What Lambda runs beside an environment that was restored from a snapshot."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[str | None] = []
        self.answer: dict[str, Any] = {
            "AccessKeyId": "A", "SecretAccessKey": "S", "Token": "T",
            "Expiration": "1970-01-01T01:00:00Z",
        }  # fmt: skip


class _Handler(BaseHTTPRequestHandler):
    server: Endpoint

    def do_GET(self) -> None:
        self.server.asked.append(self.headers.get("Authorization"))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(self.server.answer).encode())

    def log_message(self, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    server = Endpoint()
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_an_on_demand_environment_has_them_in_its_variables() -> None:
    variables = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "s", "AWS_SESSION_TOKEN": "t"}
    assert EnvironmentCredentials(variables).current() == Credentials("a", "s", "t")


def test_a_missing_variable_is_named() -> None:
    with pytest.raises(CredentialsError, match="AWS_SECRET_ACCESS_KEY"):
        EnvironmentCredentials({"AWS_ACCESS_KEY_ID": "a"}).current()


def test_a_restored_environment_asks_its_endpoint_once_until_they_are_about_to_expire(
    endpoint: Endpoint,
) -> None:
    now = [0.0]
    variables = {
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"http://127.0.0.1:{endpoint.server_address[1]}/c",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN": "secret",
    }
    source = EnvironmentCredentials(variables, clock=lambda: now[0])
    assert source.current() == source.current() == Credentials("A", "S", "T")
    assert endpoint.asked == ["secret"]
    now[0] = 3300.0  # five minutes before 01:00
    source.current()
    assert len(endpoint.asked) == 1
    now[0] = 3301.0
    source.current()
    assert len(endpoint.asked) == 2
    source.forget()
    source.current()
    assert len(endpoint.asked) == 3


def test_the_endpoint_is_waited_for_as_long_as_botocore_waits(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    connect = urllib.request.urlopen

    def watched(request: urllib.request.Request, *, timeout: float) -> Any:
        waits.append(timeout)
        return connect(request, timeout=timeout)

    monkeypatch.setattr(urllib.request, "urlopen", watched)
    uri = f"http://127.0.0.1:{endpoint.server_address[1]}/c"
    EnvironmentCredentials({"AWS_CONTAINER_CREDENTIALS_FULL_URI": uri}).current()
    assert waits == [ContainerMetadataFetcher.TIMEOUT_SECONDS]


def test_an_answer_that_makes_no_sense_is_an_error(endpoint: Endpoint) -> None:
    endpoint.answer = {"AccessKeyId": "A"}
    uri = f"http://127.0.0.1:{endpoint.server_address[1]}/c"
    with pytest.raises(CredentialsError, match="endpoint failed"):
        EnvironmentCredentials({"AWS_CONTAINER_CREDENTIALS_FULL_URI": uri}).current()


@pytest.mark.parametrize("host", ["example.com", "127.0.0.1.example.com", "localhost@example.com"])
def test_credentials_are_never_fetched_from_elsewhere(host: str) -> None:
    variables = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": f"http://{host}/credentials"}
    with pytest.raises(CredentialsError, match="not link-local"):
        EnvironmentCredentials(variables).current()


def test_environment_credentials_without_a_session_token_have_none() -> None:
    keys = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "s", "AWS_SESSION_TOKEN": ""}
    assert EnvironmentCredentials(keys).current() == Credentials("a", "s", None)


def test_secrets_are_not_in_what_a_trace_would_show() -> None:
    assert repr(Credentials("AKID", "secret", "token")) == "Credentials(access_key='AKID')"
