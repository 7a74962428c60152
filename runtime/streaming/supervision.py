"""Background tasks that go on after an error, which is logged, instead of ending in silence."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from runtime.backoff import doubled

log = logging.getLogger(__name__)

Result = TypeVar("Result")

FIRST_PAUSE_SECONDS = 0.25
LONGEST_PAUSE_SECONDS = 30.0


async def supervised(
    name: str,
    step: Callable[[], Awaitable[Result]],
    *,
    first_pause: float = FIRST_PAUSE_SECONDS,
    longest_pause: float = LONGEST_PAUSE_SECONDS,
) -> Result:
    """What `step` returns; it is started again whenever it raises an Exception.

    The pause (seconds) before that doubles with each failure up to the longest, and is the first
    again after a run that lasted longer than the longest pause. Cancelling ends the job.
    """
    failures = 0
    while True:
        started = time.monotonic()
        try:
            return await step()
        except Exception:
            if time.monotonic() - started > longest_pause:
                failures = 0
            pause = doubled(failures, first=first_pause, longest=longest_pause)
            log.exception(
                "a background task failed and is started again",
                extra={"task": name, "pause_seconds": pause},
            )
        failures += 1
        await asyncio.sleep(pause)


async def cancelled(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Cancel the tasks and wait until all have ended, however they did."""
    ending = list(tasks)
    for task in ending:
        task.cancel()
    for ended in await asyncio.gather(*ending, return_exceptions=True):
        if isinstance(ended, Exception):
            log.error("a background task ended with an error", exc_info=ended)
