"""What can go wrong while a package is built."""

from __future__ import annotations

from visionstack.errors import VisionstackError


class PackagingError(VisionstackError):
    """A package could not be built, or does not fit where it is to run."""
