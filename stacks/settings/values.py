"""What single values of settings must be, where a type and bounds cannot say it."""

from __future__ import annotations

import re
from typing import Final

from runtime.contract import MAX_WARM_ENVIRONMENTS, ScenarioKind
from stacks.catalog import Catalog, InstanceType
from stacks.errors import UnknownInstanceTypeError

_RATES: Final = {ScenarioKind.SERVER: "[:QPS]", ScenarioKind.CAMERA: ":FPS"}
"""How the rate of a scenario is written, where it has one; in brackets it may be left out."""
SCENARIO_FORMS: Final = ", ".join(f"{kind}{_RATES.get(kind, '')}" for kind in ScenarioKind)


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


def is_scenario(text: str) -> bool:
    """Whether a compared instance can measure it: `offline`, `server:50`, `camera:29.97`, ..."""
    kind, colon, rate = text.partition(":")
    if kind not in list(ScenarioKind):
        return False
    form = _RATES.get(ScenarioKind(kind))
    if not colon:
        return form is None or form.startswith("[")
    number = re.fullmatch(r"\d{1,5}(?:\.\d+)?", rate)
    return form is not None and number is not None and 0 < float(rate) <= 10_000
