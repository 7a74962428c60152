"""AWS as the SDK meets it: HTTP answers for boto3's requests, given before they are sent.

What boto3 does with them (parsing, repeating, waiting) is its own.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse

from visionstack.cloud.deployment import Deployment

Answer = tuple[int, str]
"""HTTP status and body."""


class Wire:
    """Answers by operation, such as `s3.GetObject`; the last of a list is given again and again."""

    def __init__(self) -> None:
        self.answers: dict[str, list[Answer]] = {}
        self.asked: list[str] = []
        self.session = Deployment("aws", "any", None).session
        self.session.events.register("before-send", self._answer)

    def _answer(self, request: Any, event_name: str, **_: Any) -> AWSResponse:
        operation = event_name.removeprefix("before-send.")
        self.asked.append(operation)
        answers = self.answers.get(operation) or self.answers.get("*")
        assert answers, f"nothing is to be asked of {operation}"
        status, body = answers.pop(0) if len(answers) > 1 else answers[0]
        return AWSResponse(request.url, status, {}, _Body(body.encode()))


class _Body(io.BytesIO):
    def stream(self, **_: Any) -> Iterator[bytes]:
        while part := self.read(65536):
            yield part


def refusal(code: str, message: str = "", *, status: int = 400, kind: str = "query") -> Answer:
    """An error as a service's protocol has it: `query`, `s3` or `json`."""
    if kind == "json":
        return status, json.dumps({"__type": code, "message": message or code})
    error = f"<Code>{code}</Code><Message>{message or code}</Message>"
    if kind == "s3":
        return status, f"<Error>{error}</Error>"
    whole = f"<Error><Type>Sender</Type>{error}</Error><RequestId>1</RequestId>"
    return status, f"<ErrorResponse>{whole}</ErrorResponse>"


def result(operation: str, body: str = "") -> Answer:
    """A good answer of CloudFormation or Auto Scaling."""
    return 200, (
        f"<{operation}Response><{operation}Result>{body}</{operation}Result>"
        "<ResponseMetadata><RequestId>1</RequestId></ResponseMetadata>"
        f"</{operation}Response>"
    )


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch) -> Wire:
    """AWS, answered by the test; nobody waits between two attempts."""
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    return Wire()
