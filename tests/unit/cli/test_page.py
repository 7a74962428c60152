"""`visionstack open`: the address that it opens, and what it says of it."""

from __future__ import annotations

import webbrowser
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

import pytest

from visionstack.cli import page
from visionstack.cloud import deployment
from visionstack.cloud.deployment import ClassifierApi, StreamEndpoint
from visionstack.errors import VisionstackError


@dataclass
class Deployed:
    """What `connect` finds."""

    host: str
    api: ClassifierApi | None = None

    def stream_endpoint(self) -> StreamEndpoint:
        return StreamEndpoint(self.host, 7443, "a token", "ab" * 32, 8444)

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
    return addresses


def use(monkeypatch: pytest.MonkeyPatch, deployed: Deployed) -> None:
    monkeypatch.setattr(deployment, "connect", lambda **_: deployed)


def test_both_lanes_are_in_the_address_that_is_opened_and_shown_as_a_code(
    monkeypatch: pytest.MonkeyPatch, opened: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    api = ClassifierApi("https://one.execute-api.eu-west-1.amazonaws.com/v1", "a+key")
    use(monkeypatch, Deployed("lb.elb.amazonaws.com", api))
    page.open_deployed()
    (address,) = opened
    parts = urlsplit(address)
    assert (parts.scheme, parts.netloc) == ("https", "lb.elb.amazonaws.com:8444")
    assert parse_qs(parts.fragment) == {"token": ["a token"], "api": [api.url], "key": ["a+key"]}
    told = capsys.readouterr()
    assert f"page: {address}" in told.out
    assert "█" in told.err
    assert "Proceed" in told.err


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
