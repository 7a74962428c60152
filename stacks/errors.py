"""What can be wrong with a deployment before anything is synthesized."""

from __future__ import annotations

from collections.abc import Sequence


class DeploymentError(Exception):
    """Root of the errors that `stacks` raises; its text is one or more plain sentences."""


class SettingsError(DeploymentError):
    """One or more settings are wrong: `sentences` has one for each."""

    def __init__(self, sentences: Sequence[str]) -> None:
        super().__init__("\n".join(sentences))
        self.sentences = tuple(sentences)


class UnknownInstanceTypeError(DeploymentError):
    """An instance type that the catalog does not list."""


class PackageMissingError(DeploymentError):
    """A package folder that synthesis needs has not been built."""
