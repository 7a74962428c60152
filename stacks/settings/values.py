"""What single values of settings must be, where a type and bounds cannot say it."""

from __future__ import annotations

from runtime.contract import MAX_WARM_ENVIRONMENTS
from stacks.catalog import Catalog, InstanceType
from stacks.errors import UnknownInstanceTypeError


def startable(name: str) -> InstanceType:
    """The catalog's entry, if AWS starts it and an engine here can use it; else a ValueError."""
    try:
        found = Catalog.load()[name]
    except UnknownInstanceTypeError as error:
        raise ValueError(str(error).rstrip(".?")) from None
    if found.obstacle:
        raise ValueError(found.obstacle)
    return found


def hour_span(entry: str) -> tuple[str, int]:
    """`9-18=8` as (`9-18`, 8): from hour 9 until hour 18, 8 environments."""
    span, _, count = entry.partition("=")
    first, _, last = span.partition("-")
    if not (first.isdigit() and last.isdigit() and count.isdigit()):
        raise ValueError(f"{entry!r} is no span of hours")
    hours = int(first) <= 23 and int(last) <= 24 and int(first) != int(last)
    if not (hours and int(count) <= MAX_WARM_ENVIRONMENTS):
        raise ValueError(f"{entry!r} is out of range")
    return f"{int(first)}-{int(last)}", int(count)
