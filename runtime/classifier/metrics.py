"""One structured log line a call, which is also its metrics (CloudWatch embedded metric format).

Powertools' Metrics (3.37) would write the same line; importing it takes 0.12 s of a processor in
every cold start, and 4.5 MB.

No picture content and no file path is logged: the request id finds the call, S3's own access
logs the object. Format:
https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any, Final

from runtime.contract import ClassifierMetric

_TIMINGS: Final = {
    "download": ClassifierMetric.DOWNLOAD,
    "decode": ClassifierMetric.DECODE,
    "inference": ClassifierMetric.INFERENCE,
}


class CallRecord:
    """What is known about one call when it ends; times in milliseconds.

    `billed_ms` is computed as AWS bills: the duration rounded up, plus the INIT time of the
    environment's first call (billed for zip functions since 2025-08-01).
    """

    def __init__(
        self, *, method: str, request_id: str, environment: str, cold: bool, init_ms: float = 0.0
    ) -> None:
        self.method = method
        self.request_id = request_id
        self.environment = environment
        self.cold = cold
        self.status = 200
        self.code: str | None = None
        self.duration_ms = 0.0
        self.init_ms = init_ms
        self.timings: dict[str, float] = {}
        self.extra: dict[str, Any] = {}

    @property
    def billed_ms(self) -> int:
        """Whole milliseconds."""
        return math.ceil(self.duration_ms + (self.init_ms if self.cold else 0.0))


class CallLog:
    """Writes a record as one JSON line."""

    def __init__(
        self, *, function_name: str, clock: Callable[[], float], write: Callable[[str], object]
    ) -> None:
        self._function_name = function_name
        self._clock = clock
        self._write = write

    def write(self, record: CallRecord) -> None:
        """One line; metrics that the call did not have are left out."""
        counts = {
            ClassifierMetric.CALLS: 1,
            ClassifierMetric.COLD_CALLS: int(record.cold),
            ClassifierMetric.CLIENT_ERRORS: int(400 <= record.status < 500),
            ClassifierMetric.SERVER_ERRORS: int(record.status >= 500),
        }
        times = {
            ClassifierMetric.DURATION: record.duration_ms,
            ClassifierMetric.BILLED: record.billed_ms,
        }
        if record.cold:
            times[ClassifierMetric.INIT] = record.init_ms
        for timing, metric in _TIMINGS.items():
            if timing in record.timings:
                times[metric] = record.timings[timing]
        line = {
            "_aws": self._header([*counts], [*times]),
            ClassifierMetric.FUNCTION_DIMENSION: self._function_name,
            **counts,
            **{name: round(value, 3) for name, value in times.items()},
            "level": "INFO" if record.status < 500 else "ERROR",
            "method": record.method,
            "status": record.status,
            "code": record.code,
            "request_id": record.request_id,
            "environment": record.environment,
            **record.extra,
        }
        self._write(json.dumps(line, separators=(",", ":")))

    def _header(self, counts: list[str], times: list[str]) -> dict[str, Any]:
        metrics = [{"Name": name, "Unit": "Count"} for name in counts]
        metrics += [{"Name": name, "Unit": "Milliseconds"} for name in times]
        return {
            "Timestamp": int(self._clock() * 1000),
            "CloudWatchMetrics": [
                {
                    "Namespace": ClassifierMetric.NAMESPACE,
                    "Dimensions": [[ClassifierMetric.FUNCTION_DIMENSION]],
                    "Metrics": metrics,
                }
            ],
        }
