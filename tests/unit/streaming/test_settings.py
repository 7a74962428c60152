"""Environment variables to settings, and errors that name the variable."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime.contract import Env, Tls
from runtime.streaming.errors import SettingsError
from runtime.streaming.host.certificate import Certificate
from runtime.streaming.settings import Settings

DEPLOYED = {
    Env.MODEL: "yolov3-tiny,yolov3",
    Env.STREAM_TOKEN_SECRET: "visionstack-token",
    Env.STREAM_HOST: "10.0.0.5",
    Env.STREAM_PORT: "7443",
    Env.STREAM_HTTP_PORT: "8443",
    Env.STREAM_TLS: "self-signed",
    Env.STREAM_DRAIN_SECONDS: "90",
    Env.ARTIFACTS_BUCKET: "artifacts",
    Env.ROOT: "/opt/visionstack",
}


def test_what_the_stack_sets_is_what_the_server_reads() -> None:
    settings = Settings.from_env(DEPLOYED)
    assert settings.models == ("yolov3-tiny", "yolov3")
    assert settings.models_folder == Path("/opt/visionstack/models")
    assert (settings.host, settings.port, settings.http_port) == ("10.0.0.5", 7443, 8443)
    assert settings.limits.drain_seconds == 90
    assert settings.bucket == "artifacts"
    assert settings.tls is Tls.SELF_SIGNED


def test_the_models_folder_can_be_named() -> None:
    settings = Settings.from_env({**DEPLOYED, Env.MODELS_FOLDER: "/var/lib/models"})
    assert settings.models_folder == Path("/var/lib/models")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (Env.MODEL, ""),
        (Env.MODEL, ","),
        (Env.STREAM_TOKEN_SECRET, ""),
        (Env.STREAM_PORT, "https"),
        (Env.STREAM_PORT, "70000"),
        (Env.STREAM_HTTP_PORT, "-1"),
        (Env.STREAM_TLS, "maybe"),
        (Env.STREAM_DRAIN_SECONDS, "soon"),
    ],
)
def test_a_wrong_variable_is_named(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name):
        Settings.from_env({**DEPLOYED, name: value})


def test_without_tls_the_server_listens_on_loopback_only() -> None:
    with pytest.raises(SettingsError, match="loopback only"):
        Settings.from_env({**DEPLOYED, Env.STREAM_TLS: "off"})


def test_a_token_never_shows_in_a_printed_settings_object() -> None:
    settings = Settings(models=("m",), models_folder=Path(), token="secret of the house")
    assert "secret of the house" not in repr(settings)


def test_a_certificate_follows_from_the_token_and_from_nothing_else() -> None:
    one, same = Certificate.from_token("t" * 40), Certificate.from_token("t" * 40)
    other = Certificate.from_token("u" * 40)
    assert one == same
    assert one.fingerprint != other.fingerprint


def test_a_token_that_could_be_guessed_makes_no_certificate() -> None:
    with pytest.raises(SettingsError, match="at least 24"):
        Certificate.from_token("hunter2")
