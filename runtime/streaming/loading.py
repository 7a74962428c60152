"""The models a server begins with, waited for where they come from S3.

A new deployment has servers before anybody has published a model. Such a server listens, says on
`/readyz` and in the log what it waits for, and serves once the model is there.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, MutableMapping, Sequence
from typing import Final

from runtime.backoff import doubled
from runtime.streaming.errors import ModelUnavailableError
from runtime.streaming.models import ModelHost, ModelSource

log = logging.getLogger(__name__)

FIRST_SECONDS: Final = 1.0
LONGEST_SECONDS: Final = 30.0
"""Between two attempts; each delay is twice the one before."""
REMIND_SECONDS: Final = 600.0
"""The log says it again after this long, although nothing has changed."""


async def load_models(
    hosts: MutableMapping[str, ModelHost],
    source: ModelSource,
    names: Sequence[str],
    *,
    patient: bool,
    waiting: Callable[[str], None],
) -> None:
    """Put every named model into `hosts`.

    Args:
        hosts: By model name; filled in the order of `names`.
        source: Called off the event loop.
        names: The models to load.
        patient: Whether a model that is missing or cannot be loaded is tried again for ever.
        waiting: Told the reason after each failed attempt.

    Raises:
        ModelUnavailableError: a model cannot be loaded, unless `patient`.
    """
    for name in names:
        attempt, said, said_at = 0, "", 0.0
        while name not in hosts:
            try:
                version = (await asyncio.to_thread(source.wanted, name)).version
                hosts[name] = ModelHost(await asyncio.to_thread(source.load, name, version))
            except ModelUnavailableError as error:
                if not patient:
                    raise
                reason, now = str(error), time.monotonic()
                waiting(reason)
                if reason != said or now - said_at > REMIND_SECONDS:
                    log.warning("waiting for a model", extra={"model": name, "reason": reason})
                    said, said_at = reason, now
                await asyncio.sleep(doubled(attempt, first=FIRST_SECONDS, longest=LONGEST_SECONDS))
                attempt += 1
            else:
                log.info("model loaded", extra={"model": name, "version": version})
