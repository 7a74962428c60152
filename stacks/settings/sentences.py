"""What is said about wrong settings: one sentence for each, with the value and what is allowed."""

from __future__ import annotations

import difflib
import types
from collections.abc import Mapping
from typing import Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Le
from pydantic import ValidationError
from pydantic.fields import FieldInfo


def allowed(field: FieldInfo) -> str:
    """What a setting may be: in the field's own words, else from its type and bounds.

    Raises:
        TypeError: neither says it.
    """
    extra = field.json_schema_extra
    if isinstance(extra, dict) and "allowed" in extra:
        return str(extra["allowed"])
    least = next((bound.ge for bound in field.metadata if isinstance(bound, Ge)), None)
    most = next((bound.le for bound in field.metadata if isinstance(bound, Le)), None)
    if least is not None and most is not None:
        values = f"{least} to {most}"
        return f"{values}, or nothing" if type(None) in get_args(field.annotation) else values
    return _of_type(field.annotation)


def _of_type(kind: Any) -> str:
    if kind is bool:
        return "true or false"
    if get_origin(kind) is Literal:
        return ", ".join(map(str, get_args(kind)))
    if get_origin(kind) is tuple:
        return f"{_of_type(get_args(kind)[0])}, with commas"
    if get_origin(kind) in {types.UnionType, Union} and get_args(kind)[1:] == (type(None),):
        return f"{_of_type(get_args(kind)[0])}, or nothing"
    raise TypeError(f"{kind} does not say what is allowed; the setting needs words of its own")


def sentences(error: ValidationError, fields: Mapping[str, FieldInfo]) -> list[str]:
    """One for each key that is wrong; `fields` by key, with `allowed` in their schema's extras."""
    found: dict[str, str] = {}
    for wrong in error.errors(include_url=False):
        key = str(wrong["loc"][0])
        field = fields.get(key)
        if field is None:
            found.setdefault(key, _unknown(key, fields))
            continue
        reason = f": {wrong['ctx']['error']}" if wrong["type"] == "value_error" else ""
        got = f"{key} ({field.description}) got {wrong['input']!r}"
        found.setdefault(key, f"{got}{reason}; allowed: {allowed(field)}.")
    return list(found.values())


def _unknown(key: str, fields: Mapping[str, FieldInfo]) -> str:
    near = difflib.get_close_matches(key, fields, n=1)
    hint = f"did you mean {near[0]}?" if near else "docs/settings.md lists those there are."
    return f"{key} is not a setting of this project; {hint}"
