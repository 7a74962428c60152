"""What the EC2 instance is told: that its group or the spot market wants it back.

Instance metadata, version 2 (a session token first). `AWS_EC2_METADATA_SERVICE_ENDPOINT` names
another address, as it does for every AWS SDK.
"""

from __future__ import annotations

import asyncio
import http.client
import logging
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit

from runtime.protocol.errors import StreamingError

log = logging.getLogger(__name__)

DEFAULT_ENDPOINT = "http://169.254.169.254"
POLL_SECONDS = 5.0
"""AWS suggests every five seconds for spot notices; they come two minutes ahead."""
_TIMEOUT = 1.0
_TOKEN_SECONDS = "300"  # noqa: S105 - a duration


class NotAnInstanceError(StreamingError):
    """Nobody answers at the metadata address: this is no EC2 instance."""


class Metadata(Protocol):
    """The instance's metadata. `get` may block for a second and is called off the event loop."""

    def get(self, path: str) -> str | None:
        """The value, None where there is none. Raises NotAnInstanceError."""
        ...


@dataclass(frozen=True)
class InstanceMetadata:
    """IMDSv2 over HTTP."""

    endpoint: str = DEFAULT_ENDPOINT

    def get(self, path: str) -> str | None:
        try:
            token = self._request(
                "PUT", "/latest/api/token", {"X-aws-ec2-metadata-token-ttl-seconds": _TOKEN_SECONDS}
            )
            return self._request(
                "GET", f"/latest/meta-data/{path}", {"X-aws-ec2-metadata-token": token or ""}
            )
        except (OSError, http.client.HTTPException) as error:
            raise NotAnInstanceError(f"{self.endpoint} does not answer: {error}") from error

    def _request(self, method: str, path: str, headers: dict[str, str]) -> str | None:
        address = urlsplit(self.endpoint)
        connection = http.client.HTTPConnection(
            address.hostname or "", address.port or 80, timeout=_TIMEOUT
        )
        try:
            connection.request(method, path, headers=headers)
            answer = connection.getresponse()
            body = answer.read().decode("utf-8", "replace").strip()
        finally:
            connection.close()
        return body if answer.status == http.HTTPStatus.OK else None


@dataclass(frozen=True)
class Leaving:
    """Why the instance has to go; `hook` when its group waits for it to say that it is done."""

    reason: str
    hook: bool


async def leaving(metadata: Metadata, *, every: float = POLL_SECONDS) -> Leaving:
    """Returns when the instance has to go; never, where there is no instance."""
    answered = False
    while True:
        try:
            notice = await asyncio.to_thread(_notice, metadata)
            answered = True
        except NotAnInstanceError as error:
            if not answered:
                log.info("no instance metadata", extra={"reason": str(error)})
                await asyncio.Event().wait()
            notice = None
        if notice is not None:
            return notice
        await asyncio.sleep(every)


def _notice(metadata: Metadata) -> Leaving | None:
    state = metadata.get("autoscaling/target-lifecycle-state")
    if state == "Terminated":
        return Leaving("the group ends this instance", hook=True)
    if metadata.get("spot/instance-action") is not None:
        return Leaving("the spot market takes this instance back", hook=False)
    return None
