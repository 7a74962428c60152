"""The warmer's settings, read once, and how many environments an hour of the day wants."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeGuard

from runtime.contract import (
    MAX_WAKEUP_SLEEP_MS,
    MAX_WARM_ENVIRONMENTS,
    WARM_SLEEP_MS,
    WARM_SPARE,
    WARM_TARGET,
    Env,
)
from runtime.warmer.errors import SettingsError

_HOURS: Final = re.compile(r"([01]?[0-9]|2[0-3])-([01]?[0-9]|2[0-4])")


@dataclass(frozen=True, kw_only=True)
class Targets:
    """How many environments to keep warm.

    Attributes:
        default: at every hour that `hours` does not name.
        hours: (first hour, hour after the last, environments), UTC; may wrap past midnight.
        spare: more of them that stay free for real calls while the others are held.
    """

    default: int
    hours: tuple[tuple[int, int, int], ...] = ()
    spare: int = WARM_SPARE

    @classmethod
    def from_json(cls, text: str) -> Targets:
        """`{"default": 5, "hours": {"9-18": 8}, "spare": 1}`. Raises `SettingsError`."""
        try:
            document: Any = json.loads(text)
        except ValueError:
            document = None
        if not isinstance(document, dict):
            raise SettingsError(
                f'{Env.WARM_TARGETS} is {text[:80]!r}; expected like {{"default": 5}}'
            )
        hours = document.get("hours") or {}
        if not isinstance(hours, dict):
            raise SettingsError(f'{Env.WARM_TARGETS}: hours is {hours!r}; expected {{"9-18": 8}}')
        return cls(
            default=_count(document.get("default"), "default"),
            hours=tuple(_hours(span, count) for span, count in hours.items()),
            spare=_count(document.get("spare", WARM_SPARE), "spare"),
        )

    def at(self, hour: int) -> int:
        """The target at `hour` (0 to 23, UTC)."""
        for first, after, count in self.hours:
            inside = first <= hour < after if first < after else hour >= first or hour < after
            if inside:
                return count
        return self.default


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the deployment tells the warmer; `function` is a name or an alias's ARN."""

    function: str
    targets: Targets
    sleep_ms: int = WARM_SLEEP_MS
    max_rounds: int = field(default=4)

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Settings:
        """Raises `SettingsError` naming the variable, its value and what is allowed."""
        function = environ.get(Env.WARM_FUNCTION, "").strip()
        if not function:
            raise SettingsError(f"environment variable {Env.WARM_FUNCTION} is not set")
        sleep = environ.get(Env.WARM_SLEEP_MS) or str(WARM_SLEEP_MS)
        if not (sleep.isascii() and sleep.isdigit()) or not 1 <= int(sleep) <= MAX_WAKEUP_SLEEP_MS:
            raise SettingsError(
                f"{Env.WARM_SLEEP_MS} is {sleep!r}; allowed: 1 to {MAX_WAKEUP_SLEEP_MS} (ms)"
            )
        return cls(
            function=function,
            targets=Targets.from_json(
                environ.get(Env.WARM_TARGETS) or f'{{"default": {WARM_TARGET}}}'
            ),
            sleep_ms=int(sleep),
        )


def _count(value: object, name: str) -> int:
    if not is_count(value):
        raise SettingsError(
            f"{Env.WARM_TARGETS}: {name} is {value!r}; allowed: 0 to {MAX_WARM_ENVIRONMENTS}"
        )
    return value


def is_count(value: object) -> TypeGuard[int]:
    """Whether it is a number of environments that a warmer can hold."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    return whole and 0 <= value <= MAX_WARM_ENVIRONMENTS  # type: ignore[operator]


def _hours(span: str, count: object) -> tuple[int, int, int]:
    match = _HOURS.fullmatch(span)
    if not match:
        raise SettingsError(f"{Env.WARM_TARGETS}: hours {span!r}; expected like '9-18' (UTC)")
    return int(match[1]), int(match[2]), _count(count, f"hours {span}")
