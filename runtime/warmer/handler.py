"""Lambda's entry point: `runtime.warmer.handler.handle`.

Called by the schedule with any event; an event `{"target": 3}` asks for that many environments
instead of the hour's, which is how the desk proves a warm pool.
"""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from typing import Any

from runtime.contract import MAX_WARM_ENVIRONMENTS
from runtime.warmer.errors import SettingsError
from runtime.warmer.invoker import LambdaWaker, metrics_line
from runtime.warmer.settings import Settings, is_count
from runtime.warmer.warm_pool import WarmPool


def handle(event: object, context: object) -> dict[str, Any]:
    """One wake-up cycle; returns `WarmReport.to_json()`. Raises `SettingsError`."""
    settings = Settings.from_env(os.environ)
    target = requested_target(event)
    if target is None:
        target = settings.targets.at(datetime.now(UTC).hour)
    pool = WarmPool(
        LambdaWaker.connect(settings.function),
        sleep_ms=settings.sleep_ms,
        max_rounds=settings.max_rounds,
    )
    report = pool.cycle(target, spare=settings.targets.spare)
    print(metrics_line(report, function=settings.function, now=time.time()), flush=True)
    return report.to_json()


def requested_target(event: object) -> int | None:
    """`target` of an event that has one. Raises `SettingsError` for one that cannot be."""
    if not isinstance(event, dict) or "target" not in event:
        return None
    value = event["target"]
    if not is_count(value):
        raise SettingsError(f"target is {value!r}; allowed: 0 to {MAX_WARM_ENVIRONMENTS}")
    return value
