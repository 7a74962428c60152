"""What the deployed parts log, read from CloudWatch Logs; on the embedded cloud the same.

Read by FilterLogEvents, which both have; the live tail of AWS costs by the minute.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

from visionstack.cloud.aws_errors import translated
from visionstack.cloud.deployment import Deployment
from visionstack.errors import VisionstackError

Part = Literal["streaming", "classifier", "warmer", "storage"]
"""Called as their stacks are (`runtime.contract.Stack`)."""
PARTS: Final[tuple[Part, ...]] = get_args(Part)
_LATE_MS: Final = 15_000
"""How long after others an entry may turn up: CloudWatch does not keep the order of streams."""
_POLL_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True)
class Entry:
    """One log entry."""

    milliseconds: int
    """Since 1970, UTC."""
    part: Part
    stream: str
    """An instance's id, or an environment of a function."""
    message: str

    def to_json(self) -> dict[str, Any]:
        """Plain values; what was JSON in the log is an object."""
        try:
            message: Any = json.loads(self.message)
        except ValueError:
            message = self.message
        return {
            "milliseconds": self.milliseconds,
            "part": self.part,
            "stream": self.stream,
            "message": message,
        }


def groups(deployment: Deployment, parts: Sequence[Part]) -> list[tuple[Part, str]]:
    """The log groups of the parts that are deployed.

    Raises:
        VisionstackError: none of them is, or the cloud cannot be asked.
    """
    from botocore.exceptions import ClientError

    found: list[tuple[Part, str]] = []
    pages = deployment.client("cloudformation").get_paginator("list_stack_resources")
    for part in parts:
        name = deployment.stack_name(part)
        with translated(f"list what {name} has"):
            try:
                resources = [
                    one
                    for page in pages.paginate(StackName=name)
                    for one in page["StackResourceSummaries"]
                ]
            except ClientError as error:
                if error.response["Error"]["Code"] == "ValidationError":
                    continue  # not deployed
                raise
        found += [
            (part, one["PhysicalResourceId"])
            for one in resources
            if one["ResourceType"] == "AWS::Logs::LogGroup"
        ]
    if not found:
        raise VisionstackError(
            f"Nothing of {', '.join(parts)} is deployed, so there are no logs.",
            remedy="`visionstack status` says what is. A server that `visionstack serve` or `try` "
            "started logs in its own terminal.",
        )
    return found


def read(
    deployment: Deployment,
    where: Sequence[tuple[Part, str]],
    *,
    since_ms: int,
    follow: bool = False,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[Entry]:
    """Entries from `since_ms` on, in order, each once; with `follow`, without an end."""
    client = deployment.client("logs")
    begin = since_ms
    told: dict[tuple[str, str, int, str], int] = {}
    while True:
        entries = [
            entry for part, group in where for entry in _entries(client, part, group, begin, told)
        ]
        entries.sort(key=lambda entry: entry.milliseconds)
        yield from entries
        if not follow:
            return
        if entries:
            begin = max(begin, entries[-1].milliseconds - _LATE_MS)
            told = {key: at for key, at in told.items() if at >= begin}
        sleep(_POLL_SECONDS)


def _entries(
    client: Any,
    part: Part,
    group: str,
    begin: int,
    told: dict[tuple[str, str, int, str], int],
) -> list[Entry]:
    """Those of one group that were not told before."""
    from botocore.exceptions import ClientError

    fresh = []
    with translated(f"read the log group {group}"):
        try:
            for page in client.get_paginator("filter_log_events").paginate(
                logGroupName=group, startTime=begin
            ):
                for event in page["events"]:
                    stream, at, text = event["logStreamName"], event["timestamp"], event["message"]
                    # Without an id, equal lines of one millisecond are one.
                    key = (group, stream, at, str(event.get("eventId", text)))
                    if key not in told:
                        told[key] = at
                        fresh.append(Entry(at, part, stream, text.rstrip()))
        except ClientError as error:
            if error.response["Error"]["Code"] != "ResourceNotFoundException":
                raise
    return fresh
