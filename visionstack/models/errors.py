"""What can go wrong while a model is fetched, built or published."""

from __future__ import annotations

from visionstack.errors import VisionstackError


class ModelError(VisionstackError):
    """Root of this package's errors."""


class DownloadError(ModelError):
    """A file could not be fetched, or what came is not what was asked for."""


class StillRandomError(ModelError):
    """Real weights cannot be had yet, and the model with random ones is there already."""


class WeightsError(ModelError):
    """A weights file does not fit the network it is meant for."""
