"""`visionstack open`: the address that it opens, and what it says of it."""

from __future__ import annotations

import sys
import threading
import webbrowser
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from visionstack.cli import page
from visionstack.cloud import deployment
from visionstack.cloud.deployment import ClassifierApi, StreamEndpoint
from visionstack.deploy import local
from visionstack.errors import VisionstackError


@dataclass
class Deployed:
    """What `connect` finds."""

    host: str
    api: ClassifierApi | None = None
    url: str | None = None
    """Of the page by CloudFront."""
    fingerprint: str | None = "ab" * 32
    cloud: str = "aws"

    def page_url(self) -> str | None:
        return self.url

    def stream_endpoint(self) -> StreamEndpoint:
        return StreamEndpoint(self.host, 7443, "a token", self.fingerprint, 8444)

    def classifier_api(self) -> ClassifierApi:
        if self.api is None:
            raise VisionstackError("Stack visionstack-classifier is not deployed on AWS.")
        return self.api


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    addresses: list[str] = []

    def note(address: str) -> bool:
        addresses.append(address)
        return True

    monkeypatch.setattr(webbrowser, "open", note)
    monkeypatch.setenv("DISPLAY", ":0")
    return addresses


def use(monkeypatch: pytest.MonkeyPatch, deployed: Deployed) -> None:
    monkeypatch.setattr(deployment, "connect", lambda **_: deployed)


@pytest.fixture
def gateway() -> Iterator[str]:
    """An API whose preflight allows https://lb.elb.amazonaws.com:8444 alone; its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_OPTIONS(self) -> None:
            self.send_response(204)
            self.send_header("Access-Control-Allow-Origin", "https://lb.elb.amazonaws.com:8444")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    thread.join()
    server.server_close()


def test_both_lanes_are_in_the_address_that_is_opened_and_shown_as_a_code(
    monkeypatch: pytest.MonkeyPatch,
    opened: list[str],
    capsys: pytest.CaptureFixture[str],
    gateway: str,
) -> None:
    api = ClassifierApi(gateway, "a+key")
    use(monkeypatch, Deployed("lb.elb.amazonaws.com", api))
    page.open_deployed()
    (address,) = opened
    parts = urlsplit(address)
    assert (parts.scheme, parts.netloc) == ("https", "lb.elb.amazonaws.com:8444")
    assert parse_qs(parts.fragment) == {"token": ["a token"], "api": [api.url], "key": ["a+key"]}
    told = capsys.readouterr()
    assert told.out.splitlines() == [
        f"page: {address}",
        "address: lb.elb.amazonaws.com:7443",
        "token: a token",
        f"fingerprint: {'ab' * 32}",
        f"api: {api.url}",
        "key: a+key",
    ]
    assert "█" in told.err
    assert "Proceed" in told.err
    assert "cors_origin" not in told.err


def test_an_api_that_does_not_let_the_page_in_is_told_with_the_setting(
    monkeypatch: pytest.MonkeyPatch,
    opened: list[str],
    capsys: pytest.CaptureFixture[str],
    gateway: str,
) -> None:
    use(monkeypatch, Deployed("other.example", ClassifierApi(gateway, "a key")))
    monkeypatch.setattr(local, "replaced_classifier", lambda deployment, settings: "mugs")
    page.open_deployed()
    command = (
        "npx cdk deploy --all -c cors_origin=https://other.example:8444 -c classifier_model=mugs\n"
    )
    assert command in capsys.readouterr().err
    assert "key=a%20key" in opened[0]


def test_without_a_classifier_or_a_network_it_says_so_and_opens_the_stream(
    monkeypatch: pytest.MonkeyPatch, opened: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    use(monkeypatch, Deployed("127.0.0.1"))
    page.open_deployed()
    assert parse_qs(urlsplit(opened[0]).fragment) == {"token": ["a token"]}
    told = capsys.readouterr().err
    assert "visionstack-classifier is not deployed" in told
    assert "visionstack try --phone" in told
    assert "█" not in told


def test_an_api_that_wants_signatures_is_left_out(
    monkeypatch: pytest.MonkeyPatch, opened: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    use(monkeypatch, Deployed("127.0.0.1", ClassifierApi("https://one/v1", "")))
    page.open_deployed(browser=False)
    assert opened == []
    assert "auth=iam" in capsys.readouterr().err


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="there is always a screen")
def test_without_a_screen_no_browser_of_the_terminal_is_started_and_that_is_said(
    monkeypatch: pytest.MonkeyPatch, opened: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    page.tell_opened("http://127.0.0.1:8443/")
    assert opened == ["http://127.0.0.1:8443/"]
    assert "opens in your browser" in capsys.readouterr().err
    monkeypatch.delenv("DISPLAY")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    page.tell_opened("http://127.0.0.1:8443/")
    assert len(opened) == 1
    assert "No browser was found" in capsys.readouterr().err


def test_the_page_by_cloudfront_is_opened_where_it_is_deployed(
    monkeypatch: pytest.MonkeyPatch, opened: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    use(monkeypatch, Deployed("lb.elb.amazonaws.com", url="https://d1.cloudfront.net"))
    page.open_deployed()
    assert opened[0].startswith("https://d1.cloudfront.net/#token=a%20token")
    told = capsys.readouterr()
    # The stream's certificate is its own, which no page elsewhere can get past.
    assert "Detect is not on that page" in told.err
    assert "stream page: https://lb.elb.amazonaws.com:8444/#token=a%20token" in told.out
    use(
        monkeypatch,
        Deployed("stream.example.com", url="https://d1.cloudfront.net", fingerprint=None),
    )
    page.open_deployed()
    told = capsys.readouterr()
    assert "stream page" not in told.out
    assert "certificate" not in told.err
    assert "█" in told.err
