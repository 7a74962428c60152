"""What can go wrong while environments are kept warm."""

from __future__ import annotations


class WarmerError(Exception):
    """Root of this package's errors."""


class SettingsError(WarmerError):
    """An environment variable, or the event, holds what it cannot."""


class WakeError(WarmerError):
    """One wake-up failed: the function raised, timed out, or answered something else."""


class ThrottledError(WakeError):
    """Lambda refused the call: the function's or the account's concurrency is used up."""
