"""The one exception root of the desk side; the command line turns it into a sentence and exit 1."""

from __future__ import annotations


class VisionstackError(Exception):
    """Something the user can act on.

    `message` says what happened and which input it was; `remedy` says what to do about it.
    Neither shows a password or token of an address.
    """

    def __init__(self, message: str, *, remedy: str | None = None) -> None:
        from runtime.redaction import redacted  # as every command imports this module

        self.message = redacted(message)
        self.remedy = None if remedy is None else redacted(remedy)
        super().__init__(self.message)

    def __str__(self) -> str:
        return self.message if self.remedy is None else f"{self.message} {self.remedy}"


class UsageError(VisionstackError):
    """The command was called with values that cannot work; the command line exits 2."""
