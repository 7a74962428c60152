"""The server's settings, read once at the entry point."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from runtime.contract import PROJECT, STREAM_HTTP_PORT, STREAM_PORT, Env, Tls
from runtime.protocol.limits import Limits
from runtime.protocol.loopback import is_loopback
from runtime.streaming.errors import SettingsError
from runtime.streaming.host.instance import DEFAULT_ENDPOINT

MAX_DELAY_SECONDS: Final = 0.002
_ORIGIN = re.compile(r"https?://[a-z0-9.\-]+(:\d{1,5})?")
"""As browsers write it: small letters, no slash at the end."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything a server needs to know."""

    models: tuple[str, ...]
    models_folder: Path
    engine: str = "auto"
    precision: str = "auto"
    """As in `runtime.inference.engines.create_engine`; a deployed server takes the fastest."""
    host: str = "127.0.0.1"
    port: int = STREAM_PORT
    http_port: int = STREAM_HTTP_PORT
    tls: Tls = Tls.SELF_SIGNED
    names: tuple[str, ...] = ()
    """Names and addresses that clients reach the server by, for its own certificate."""
    page_origin: str = ""
    """Origin of a page elsewhere that may use the stream (CloudFront's); "" for none."""
    token: str | None = field(default=None, repr=False)
    """The token itself, for a server on the desk; a deployed one names its secret instead."""
    token_secret: str | None = None
    fingerprint_parameter: str | None = None
    bucket: str | None = None
    prefix: str = PROJECT
    group: str | None = None
    """Name of the Auto Scaling group this server belongs to, for metrics and the drain hook."""
    stack: str | None = None
    """CloudFormation stack that waits for this server while it is deployed."""
    stack_resource: str | None = None
    """Logical id of the group in that stack."""
    log_group: str | None = None
    """CloudWatch Logs group that the log lines go to, beside stderr."""
    metadata_endpoint: str = DEFAULT_ENDPOINT
    log_level: str = "INFO"
    limits: Limits = field(default_factory=Limits)
    max_batch: int | None = None
    """None: by the engine."""
    max_delay_seconds: float = MAX_DELAY_SECONDS
    """How long a batch that is not full waits for frames that are being decoded."""
    threads: int = field(default_factory=lambda: max(3, min(9, (os.cpu_count() or 2) + 1)))
    reload_seconds: float = 5.0
    """How often a new version of a model is looked for; 0 for never."""

    def __post_init__(self) -> None:
        if not self.models:
            raise SettingsError(f"{Env.MODEL} names no model.")
        if self.tls is Tls.OFF and not is_loopback(self.host):
            raise SettingsError(
                f"Without TLS the server listens on loopback only, not on {self.host}."
            )
        if self.page_origin and not _ORIGIN.fullmatch(self.page_origin):
            raise SettingsError(
                f"{Env.STREAM_PAGE_ORIGIN} is {self.page_origin!r}, which is no origin such as"
                " https://d111111abcdef8.cloudfront.net."
            )
        if (self.token is None) == (self.token_secret is None):
            raise SettingsError(f"{Env.STREAM_TOKEN_SECRET} must name the token's secret.")

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Settings:
        """Raises SettingsError, which names the variable."""
        root = Path(environ.get(Env.ROOT) or "/opt/visionstack")
        folder = environ.get(Env.MODELS_FOLDER)
        return cls(
            models=tuple(name for name in _get(environ, Env.MODEL).split(",") if name),
            models_folder=Path(folder) if folder else root / "models",
            engine=environ.get(Env.ENGINE) or "auto",
            host=environ.get(Env.STREAM_HOST) or "127.0.0.1",
            port=_port(environ, Env.STREAM_PORT, STREAM_PORT),
            http_port=_port(environ, Env.STREAM_HTTP_PORT, STREAM_HTTP_PORT),
            tls=_tls(environ),
            names=tuple(name for name in environ.get(Env.STREAM_NAMES, "").split(",") if name),
            page_origin=environ.get(Env.STREAM_PAGE_ORIGIN) or "",
            token_secret=_get(environ, Env.STREAM_TOKEN_SECRET),
            fingerprint_parameter=environ.get(Env.STREAM_FINGERPRINT_PARAMETER) or None,
            bucket=environ.get(Env.ARTIFACTS_BUCKET) or None,
            prefix=environ.get(Env.PREFIX) or PROJECT,
            group=environ.get(Env.STREAM_GROUP) or None,
            stack=environ.get(Env.STREAM_STACK) or None,
            stack_resource=environ.get(Env.STREAM_RESOURCE) or None,
            log_group=environ.get(Env.STREAM_LOG_GROUP) or None,
            metadata_endpoint=environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT") or DEFAULT_ENDPOINT,
            limits=_limits(environ),
            log_level=(environ.get(Env.LOG_LEVEL) or "INFO").upper(),
        )


def _limits(environ: Mapping[str, str]) -> Limits:
    text = environ.get(Env.STREAM_DRAIN_SECONDS)
    if not text:
        return Limits()
    try:
        return replace(Limits(), drain_seconds=float(text))
    except ValueError:
        raise SettingsError(
            f"{Env.STREAM_DRAIN_SECONDS} is {text!r}, which is no number of seconds."
        ) from None


def _get(environ: Mapping[str, str], name: str) -> str:
    value = environ.get(name, "").strip()
    if not value:
        raise SettingsError(f"The environment variable {name} is not set.")
    return value


def _port(environ: Mapping[str, str], name: str, default: int) -> int:
    text = environ.get(name) or str(default)
    if not text.isdecimal() or not 0 <= int(text) <= 65_535:
        raise SettingsError(f"{name} is {text!r}, a port is a number from 0 to 65535.")
    return int(text)


def _tls(environ: Mapping[str, str]) -> Tls:
    text = environ.get(Env.STREAM_TLS) or Tls.SELF_SIGNED
    try:
        return Tls(text)
    except ValueError:
        raise SettingsError(
            f"{Env.STREAM_TLS} is {text!r}, allowed are {', '.join(Tls)}."
        ) from None
