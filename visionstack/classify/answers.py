"""What a service answers, of which nothing is believed: it may be no classifier."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Final

_DEPTH: Final = 8
"""Objects within objects; the function's answers have 3."""
_LARGEST: Final = 1e12


class OddFieldError(Exception):
    """A field of an answer that is missing or of another form than the function's."""


class Fields:
    """An object of an answer. What is read of it raises `OddFieldError`."""

    def __init__(self, values: dict[str, Any]) -> None:
        self._values = values

    def text(self, key: str, default: object = None) -> str:
        value = self._values.get(key, default)
        if not isinstance(value, str):
            raise OddFieldError(f"its {key} is no text")
        return value

    def web_address(self, key: str) -> str:
        value = self.text(key)
        if not value.startswith(("https://", "http://")):
            raise OddFieldError(f"its {key} is no web address")
        return value

    def number(self, key: str, default: object = None) -> float:
        value = self._values.get(key, default)
        if not isinstance(value, int | float) or not _is_number(value):
            raise OddFieldError(f"its {key} is no number")
        return float(value)

    def object(
        self, key: str, default: object = None, *, of: type[str] | type[float] | None = None
    ) -> dict[str, Any]:
        """`of`: what all its values are."""
        value = self._values.get(key, default)
        if not isinstance(value, dict):
            raise OddFieldError(f"its {key} is no object")
        if of is str and not all(isinstance(one, str) for one in value.values()):
            raise OddFieldError(f"its {key} are not all text")
        if of is float and not all(map(_is_number, value.values())):
            raise OddFieldError(f"its {key} are not all numbers")
        return value


def _is_number(value: object) -> bool:
    """A finite one; no integer of thousands of digits, which is no float."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    return -_LARGEST < value < _LARGEST


def read_object(data: bytes) -> dict[str, Any] | None:
    """The JSON object, None where there is none that can be shown and written."""
    try:
        body = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return body if isinstance(body, dict) and _is_plain(body) else None


def _is_plain(value: object) -> bool:
    """Whether all can be shown and written: not nested without end, no half of a character."""
    level: list[object] = [value]
    for _ in range(_DEPTH):
        try:
            "".join(one for one in level if isinstance(one, str)).encode()
        except UnicodeEncodeError:
            return False
        level = [part for one in level for part in _parts(one)]
    return not level


def _parts(value: object) -> Iterable[object]:
    if isinstance(value, dict):
        return (*value, *value.values())
    return value if isinstance(value, list) else ()
