"""Everything that can go wrong in the streaming lane, under one root, and its codes on the wire."""

from __future__ import annotations

from runtime.protocol.errors import StreamingError


class MemoryNeededError(StreamingError):
    """A frame takes so much memory to decode that it has to wait for its turn."""

    def __init__(self, needed: int) -> None:
        super().__init__(f"decoding takes about {needed:,} bytes")
        self.needed = needed


class ModelUnavailableError(StreamingError):
    """No model of that name can be served; the message says why."""


class EngineBrokenError(StreamingError):
    """The engine fails on every picture; only a new process may get it back."""


class SettingsError(StreamingError):
    """The server was started with values that cannot work; the message names the variable."""
