"""What is said about wrong settings: one sentence for each, with the value and what is allowed."""

from __future__ import annotations

import difflib
from collections.abc import Mapping

from pydantic import ValidationError
from pydantic.fields import FieldInfo


def sentences(error: ValidationError, fields: Mapping[str, FieldInfo]) -> list[str]:
    """One for each key that is wrong; `fields` by key, with `allowed` in their schema's extras."""
    found: dict[str, str] = {}
    for wrong in error.errors(include_url=False):
        key = str(wrong["loc"][0])
        field = fields.get(key)
        if field is None:
            found.setdefault(key, _unknown(key, fields))
            continue
        extra = field.json_schema_extra
        allowed = extra["allowed"] if isinstance(extra, dict) else ""
        reason = f": {wrong['ctx']['error']}" if wrong["type"] == "value_error" else ""
        got = f"{key} ({field.description}) got {wrong['input']!r}"
        found.setdefault(key, f"{got}{reason}; allowed: {allowed}.")
    return list(found.values())


def _unknown(key: str, fields: Mapping[str, FieldInfo]) -> str:
    near = difflib.get_close_matches(key, fields, n=1)
    hint = f"did you mean {near[0]}?" if near else "cdk.json lists those there are."
    return f"{key} is not a setting of this project; {hint}"
