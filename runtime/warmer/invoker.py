"""Wake-ups by direct invocation of the function, and the cycle's metrics."""

from __future__ import annotations

import json
from typing import Any

from runtime.contract import WarmerMetric
from runtime.warmer.errors import BusyError, ThrottledError, WakeError
from runtime.warmer.warm_pool import WakeAnswer, WarmReport

CONNECTIONS = 64
_RESERVATION_USED_UP = "ReservedFunctionConcurrentInvocationLimitExceeded"
READ_TIMEOUT_SECONDS = 60
"""A wake-up may have to wait for a cold start and then sleeps up to five seconds."""


class LambdaWaker:
    """Invokes with boto3's Lambda client (or a fake of its `invoke`)."""

    def __init__(self, client: Any, function: str) -> None:
        self._client = client
        self._function = function

    @classmethod
    def connect(cls, function: str) -> LambdaWaker:
        """A client that does not retry by itself: a repeated wake-up would blur the count."""
        import boto3
        from botocore.config import Config

        config = Config(
            max_pool_connections=CONNECTIONS,
            read_timeout=READ_TIMEOUT_SECONDS,
            retries={"max_attempts": 0},
        )
        return cls(boto3.client("lambda", config=config), function)

    def wake(self, sleep_ms: int) -> WakeAnswer:
        """Raises `WakeError`; `ThrottledError` when Lambda answers 429, `BusyError` when it does so
        because the function's reserved concurrency is in use."""
        payload = {"method": "wakeup", "sleep_time": str(sleep_ms)}
        try:
            response = self._client.invoke(
                FunctionName=self._function, Payload=json.dumps(payload).encode()
            )
            answer = json.loads(response["Payload"].read())
        except Exception as error:  # botocore makes its error classes at run time
            response = getattr(error, "response", {})
            if response.get("Error", {}).get("Code", "") == "TooManyRequestsException":
                reserved = response.get("Reason") == _RESERVATION_USED_UP
                kind = BusyError if reserved else ThrottledError
                raise kind(f"throttled: {error}") from error
            raise WakeError(f"the wake-up failed: {error}") from error
        if "FunctionError" in response or "environment" not in answer:
            message = answer.get("errorMessage") or answer.get("message") or answer
            raise WakeError(f"the function answered with an error: {str(message)[:200]}")
        return WakeAnswer(str(answer["environment"]), bool(answer.get("cold")))


def metrics_line(report: WarmReport, *, function: str, now: float) -> str:
    """Target, reached and short as one line of the embedded metric format; `now`: Unix seconds."""
    names = (WarmerMetric.TARGET, WarmerMetric.REACHED, WarmerMetric.SHORT)
    return json.dumps(
        {
            "_aws": {
                "Timestamp": int(now * 1000),
                "CloudWatchMetrics": [
                    {
                        "Namespace": WarmerMetric.NAMESPACE,
                        "Dimensions": [[WarmerMetric.FUNCTION_DIMENSION]],
                        "Metrics": [{"Name": name, "Unit": "Count"} for name in names],
                    }
                ],
            },
            WarmerMetric.FUNCTION_DIMENSION: function,
            WarmerMetric.TARGET: report.target,
            WarmerMetric.REACHED: report.reached,
            WarmerMetric.SHORT: report.short,
            "rounds": report.rounds,
            "sleep_ms": report.sleep_ms,
            "cold": report.cold,
            "busy": report.busy,
            "failures": list(report.failures),
        },
        separators=(",", ":"),
    )
