"""The two papers' printed figures."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any, Final

REFERENCE: Final = Path(__file__).with_name("paper_reference.json")


@cache
def reference() -> dict[str, Any]:
    """The papers' figures."""
    value: dict[str, Any] = json.loads(REFERENCE.read_text(encoding="utf-8"))
    return value
