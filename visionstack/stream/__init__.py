"""The streaming lane's client, as a library:

    from visionstack.stream import StreamAddress, StreamClient

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
    from visionstack.stream.blocking import StreamClient
    from visionstack.stream.client import AsyncStreamClient, Patience
    from visionstack.stream.errors import (
        FrameRefusedError,
        StreamError,
        StreamRefusedError,
        StreamUnreachableError,
    )
    from visionstack.stream.types import (
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

_MODULES = ("blocking", "client", "errors", "types")


def __getattr__(name: str) -> Any:
    if name in __all__:
        for module in _MODULES:
            found = getattr(importlib.import_module(f"{__name__}.{module}"), name, None)
            if found is not None:
                return found
    raise AttributeError(f"{__name__} has no {name}")
