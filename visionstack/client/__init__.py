"""Clients of the two lanes. The streaming lane's library:

    from visionstack.client import StreamAddress, StreamClient

    address = StreamAddress("127.0.0.1", 7443, token)
    with StreamClient(address, policy="lossless") as client:
        for answer in client.stream(pictures):
            ...

`AsyncStreamClient` does the same for asyncio; docs/streaming-client.md tells of both. Names are
loaded when they are first used, so that the command line starts in milliseconds.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from visionstack.client.stream import StreamClient
    from visionstack.client.stream_async import AsyncStreamClient, Patience
    from visionstack.client.stream_errors import (
        FrameRefusedError,
        StreamError,
        StreamRefusedError,
        StreamUnreachableError,
    )
    from visionstack.client.stream_types import (
        DroppedFrame,
        FailedFrame,
        StreamAddress,
        StreamDetection,
        StreamResult,
    )

__all__ = [
    "AsyncStreamClient",
    "DroppedFrame",
    "FailedFrame",
    "FrameRefusedError",
    "Patience",
    "StreamAddress",
    "StreamClient",
    "StreamDetection",
    "StreamError",
    "StreamRefusedError",
    "StreamResult",
    "StreamUnreachableError",
]

_MODULES = ("stream", "stream_async", "stream_errors", "stream_types")


def __getattr__(name: str) -> Any:
    if name in __all__:
        for module in _MODULES:
            found = getattr(importlib.import_module(f"{__name__}.{module}"), name, None)
            if found is not None:
                return found
    raise AttributeError(f"{__name__} has no {name}")
