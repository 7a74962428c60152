from __future__ import annotations

import io
import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from runtime.contract import WarmerMetric
from runtime.warmer.errors import BusyError, ThrottledError, WakeError
from runtime.warmer.invoker import LambdaWaker, metrics_line
from runtime.warmer.warm_pool import WakeAnswer, WarmReport


class FakeClient:
    def __init__(self, answer: object, *, error: bool = False) -> None:
        self.answer = answer
        self.error = error
        self.calls: list[dict[str, Any]] = []

    def invoke(self, **kwargs: Any) -> dict[str, Any]:
        self.calls.append(kwargs)
        if isinstance(self.answer, Exception):
            raise self.answer
        response: dict[str, Any] = {"Payload": io.BytesIO(json.dumps(self.answer).encode())}
        return response | ({"FunctionError": "Unhandled"} if self.error else {})


def test_a_wakeup_is_the_papers_request_and_answers_with_the_environment() -> None:
    client = FakeClient({"method": "wakeup", "environment": "abc", "cold": True})
    assert LambdaWaker(client, "f").wake(400) == WakeAnswer("abc", True)
    assert json.loads(client.calls[0]["Payload"]) == {"method": "wakeup", "sleep_time": "400"}


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("ReservedFunctionConcurrentInvocationLimitExceeded", BusyError),
        ("ConcurrentInvocationLimitExceeded", ThrottledError),
        ("CallerRateLimitExceeded", ThrottledError),
    ],
)
def test_throttling_is_told_apart_by_what_is_used_up(
    reason: str, kind: type[ThrottledError]
) -> None:
    code: Any = {"Code": "TooManyRequestsException", "Message": ""}
    error = ClientError({"Error": code, "Reason": reason}, "Invoke")  # type: ignore[typeddict-unknown-key]
    with pytest.raises(ThrottledError) as caught:
        LambdaWaker(FakeClient(error), "f").wake(1)
    assert type(caught.value) is kind


@pytest.mark.parametrize(
    "client",
    [
        FakeClient({"errorMessage": "no model"}, error=True),
        FakeClient({"code": "bad_request", "message": "no model"}),
        FakeClient(OSError("no model")),
    ],
)
def test_a_function_that_fails_is_told_with_its_message(client: FakeClient) -> None:
    with pytest.raises(WakeError, match="no model"):
        LambdaWaker(client, "f").wake(1)


def test_target_and_reached_are_published_as_metrics() -> None:
    report = WarmReport(
        target=5, reached=3, environments=(), spares=(), cold=0, busy=1, rounds=4, sleep_ms=3200,
        failures=("throttled",),
    )  # fmt: skip
    line = json.loads(metrics_line(report, function="arn", now=1.5))
    header = line["_aws"]["CloudWatchMetrics"][0]
    assert line["_aws"]["Timestamp"] == 1500
    assert header["Namespace"] == WarmerMetric.NAMESPACE
    assert header["Dimensions"] == [[WarmerMetric.FUNCTION_DIMENSION]]
    assert line[WarmerMetric.FUNCTION_DIMENSION] == "arn"
    assert (line[WarmerMetric.TARGET], line[WarmerMetric.REACHED]) == (5, 3)
    assert line[WarmerMetric.SHORT] == 1
