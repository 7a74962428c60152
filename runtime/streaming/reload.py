"""Going over to a model's new version while frames keep coming."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping

from runtime.streaming.errors import ModelUnavailableError
from runtime.streaming.metrics import Metrics
from runtime.streaming.models import ModelHost, ModelSource

log = logging.getLogger(__name__)

RETRY_SECONDS = 600.0
"""A version that was refused is tried again after this long: the disk may have room then."""


async def watch_models(
    hosts: Mapping[str, ModelHost], source: ModelSource, *, every: float, metrics: Metrics
) -> None:
    """Look for new versions for ever; returns at once when `every` (seconds) is 0."""
    refused: dict[tuple[str, str], float] = {}
    while every > 0:
        await asyncio.sleep(every)
        for host in hosts.values():
            try:
                await _look(host, source, refused, metrics=metrics)
            except Exception:  # of one model; the others are looked after all the same
                log.exception("a model could not be looked after", extra={"model": host.name})


async def _look(
    host: ModelHost,
    source: ModelSource,
    refused: dict[tuple[str, str], float],
    *,
    metrics: Metrics,
) -> None:
    name = host.name
    try:
        version = await asyncio.to_thread(source.current_version, name)
    except ModelUnavailableError as error:
        log.warning("no news of a model", extra={"model": name, "reason": str(error)})
        return
    if version == host.current.offer.version:
        return
    if time.monotonic() - refused.get((name, version), -RETRY_SECONDS) < RETRY_SECONDS:
        return
    try:
        served = await asyncio.to_thread(source.load, name, version)
    except ModelUnavailableError as error:
        refused[name, version] = time.monotonic()
        metrics.reloads.labels(name, "refused").inc()
        log.error(  # noqa: TRY400 - the message says all that is known
            "model version refused, going on with the old one",
            extra={
                "model": name,
                "version": version,
                "serving": host.current.offer.version,
                "reason": str(error),
            },
        )
        return
    host.replace(served)
    metrics.reloads.labels(name, "loaded").inc()
    log.info("model version loaded", extra={"model": name, "version": version})
