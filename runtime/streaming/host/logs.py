"""Structured logs: a line of JSON an event, on stderr, without picture contents or tokens."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from typing import Final

from pythonjsonlogger.json import JsonFormatter

from runtime.redaction import RedactingFormatter
from runtime.streaming.host.aws import shipper

LINES: Final = 20
SECONDS: Final = 10.0
_KINDS: Final = 1_000
"""Kinds of line remembered; a message made of a client's bytes must not fill memory."""


class SampledLines(logging.Filter):
    """Lets `lines` of each kind through in `seconds`, and says with the next how many it kept.

    A kind is a logger, a level and a message without its details, so that what a client can cause
    (refused tokens, failed frames, accepts without descriptors) cannot fill a disk.
    """

    def __init__(
        self,
        *,
        lines: int = LINES,
        seconds: float = SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self._lines = lines
        self._seconds = seconds
        # Not the line's own time: a wall clock that is set back would keep lines back as long.
        self._clock = clock
        self._kinds: dict[tuple[str, int, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        kind = (record.name, record.levelno, str(record.msg)[:200])
        if len(self._kinds) > _KINDS:
            self._kinds.clear()
        now = self._clock()
        began, count = self._kinds.get(kind, (now, 0))
        if now - began >= self._seconds:
            kept = count - self._lines
            if kept > 0:
                record.suppressed = kept
            began, count = now, 0
        self._kinds[kind] = (began, count + 1)
        return count < self._lines


def configure(level: str, *, group: str | None = None) -> None:
    """For a deployed server; a program that embeds one has its own ideas.

    `group`: CloudWatch Logs group that gets the lines too.
    """
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    if group is not None:
        handlers.append(shipper(group))
    for handler in handlers:
        handler.addFilter(SampledLines())
        lines = JsonFormatter(
            "%(asctime)s %(levelname)s %(name)s %(message)s",
            rename_fields={"asctime": "time", "levelname": "level", "name": "logger"},
        )
        handler.setFormatter(RedactingFormatter(lines))
    root = logging.getLogger()
    root.handlers[:] = handlers
    root.setLevel(level)
    # Refused handshakes are the server's ordinary day, not an error of it.
    logging.getLogger("websockets").setLevel(logging.CRITICAL)
    logging.getLogger("botocore").setLevel(logging.WARNING)
