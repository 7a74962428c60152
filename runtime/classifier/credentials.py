"""Where a Lambda function's AWS credentials come from, without an SDK.

On-demand environments have them in their environment variables. Environments restored from a
SnapStart snapshot have a container endpoint instead, and fresh ones expire
(https://docs.aws.amazon.com/lambda/latest/dg/snapstart.html).
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final, NamedTuple
from urllib.parse import urlsplit

_RENEW_BEFORE_SECONDS: Final = 300
_LOCAL_HOSTS: Final = ("127.0.0.1", "localhost", "169.254.170.2", "169.254.170.23")


class CredentialsError(Exception):
    """There are no credentials, or the endpoint for them does not answer."""


class Credentials(NamedTuple):
    """A key pair and, for a role, its session token."""

    access_key: str
    secret_key: str
    token: str | None = None

    def __repr__(self) -> str:
        """Without the secrets: it may come into a trace."""
        return f"Credentials(access_key={self.access_key!r})"


class EnvironmentCredentials:
    """From `AWS_ACCESS_KEY_ID` and companions, or the container endpoint when that is set."""

    def __init__(
        self, environ: Mapping[str, str], *, clock: Callable[[], float] = time.time
    ) -> None:
        self._environ = environ
        self._clock = clock
        self._lock = threading.Lock()
        self._cached: tuple[Credentials, float] | None = None

    def current(self) -> Credentials:
        """Those that are valid now. Raises `CredentialsError` when there are none."""
        endpoint = self._environ.get("AWS_CONTAINER_CREDENTIALS_FULL_URI")
        if not endpoint:
            return self._from_variables()
        with self._lock:
            if self._cached is None or self._clock() > self._cached[1] - _RENEW_BEFORE_SECONDS:
                self._cached = self._from_endpoint(endpoint)
            return self._cached[0]

    def forget(self) -> None:
        """Ask the endpoint again: the environment was restored from a snapshot."""
        with self._lock:
            self._cached = None

    def _from_variables(self) -> Credentials:
        try:
            return Credentials(
                self._environ["AWS_ACCESS_KEY_ID"],
                self._environ["AWS_SECRET_ACCESS_KEY"],
                self._environ.get("AWS_SESSION_TOKEN") or None,
            )
        except KeyError as error:
            raise CredentialsError(f"no AWS credentials: {error.args[0]} is not set") from None

    def _from_endpoint(self, endpoint: str) -> tuple[Credentials, float]:
        import urllib.request

        parts = urlsplit(endpoint)
        if parts.scheme != "http" or parts.hostname not in _LOCAL_HOSTS:
            raise CredentialsError(f"credentials are not fetched from {endpoint}: not link-local")
        token = self._environ.get("AWS_CONTAINER_AUTHORIZATION_TOKEN", "")
        request = urllib.request.Request(endpoint, headers={"Authorization": token})  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=2) as response:  # noqa: S310
                answer = json.load(response)
            found = Credentials(answer["AccessKeyId"], answer["SecretAccessKey"], answer["Token"])
            return found, datetime.fromisoformat(answer["Expiration"]).timestamp()
        except (OSError, ValueError, KeyError) as error:
            raise CredentialsError(f"the credentials endpoint failed: {error}") from error
