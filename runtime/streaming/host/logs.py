"""Structured logs: a line of JSON an event, on stderr, without picture contents or tokens."""

from __future__ import annotations

import logging
import sys

from pythonjsonlogger.json import JsonFormatter

from runtime.streaming.host.aws import shipper


def configure(level: str, *, group: str | None = None) -> None:
    """For a deployed server; a program that embeds one has its own ideas.

    `group`: CloudWatch Logs group that gets the lines too.
    """
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    if group is not None:
        handlers.append(shipper(group))
    for handler in handlers:
        handler.setFormatter(
            JsonFormatter(
                "%(asctime)s %(levelname)s %(name)s %(message)s",
                rename_fields={"asctime": "time", "levelname": "level", "name": "logger"},
            )
        )
    root = logging.getLogger()
    root.handlers[:] = handlers
    root.setLevel(level)
    # Refused handshakes are the server's ordinary day, not an error of it.
    logging.getLogger("websockets").setLevel(logging.CRITICAL)
    logging.getLogger("botocore").setLevel(logging.WARNING)
