"""The former name of `visionstack.stream`; it warns and goes away with the next version."""

from __future__ import annotations

import warnings
from typing import Any

from visionstack import stream

__all__ = list(stream.__all__)


def __getattr__(name: str) -> Any:
    if name in __all__:
        warnings.warn(
            f"visionstack.client.{name} is visionstack.stream.{name} now",
            DeprecationWarning,
            stacklevel=2,
        )
    return getattr(stream, name)
