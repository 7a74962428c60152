"""What can go wrong while environments are kept warm."""

from __future__ import annotations


class WarmerError(Exception):
    """Root of this package's errors."""


class SettingsError(WarmerError):
    """An environment variable, or the event, holds what it cannot."""


class WakeError(WarmerError):
    """One wake-up failed: the function raised, timed out, or answered something else."""


class ThrottledError(WakeError):
    """Lambda refused the call: the account's concurrency, or its rate of calls, is used up."""


class BusyError(ThrottledError):
    """Lambda refused the call: all environments that the function may have are at work."""
