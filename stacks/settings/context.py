"""CDK's context, read without CDK."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stacks.errors import SettingsError


def read_context(environ: Mapping[str, str], *, cdk_json: Path) -> dict[str, Any]:
    """CDK's context as an app sees it: cdk.json merged with `-c`.

    `cdk` hands it over in `CDK_CONTEXT_JSON`, and in a file that `CONTEXT_OVERFLOW_LOCATION_ENV`
    names when it is long; without either, the file `cdk_json` speaks.

    Raises:
        SettingsError: when the source is missing or no JSON.
    """
    inline, overflow = environ.get("CDK_CONTEXT_JSON"), environ.get("CONTEXT_OVERFLOW_LOCATION_ENV")
    try:
        if inline is None and overflow is None:
            context = json.loads(cdk_json.read_text(encoding="utf-8")).get("context", {})
            return dict(context)
        context = dict(json.loads(inline)) if inline else {}
        if overflow:
            context |= json.loads(Path(overflow).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SettingsError([f"The CDK context cannot be read: {error}."]) from None
    return context


def belongs_to_cdk(key: str) -> bool:
    """Whether a context key is CDK's own rather than a setting of this project."""
    # Feature flags, what the CLI hands over, and answers of look-ups kept in cdk.context.json.
    return (
        key.startswith("@") or ":" in key or key in ("acknowledged-issue-numbers", "cli-telemetry")
    )
