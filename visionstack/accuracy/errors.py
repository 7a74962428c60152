"""What can be wrong with labels."""

from __future__ import annotations

from visionstack.errors import VisionstackError


class LabelError(VisionstackError):
    """Labels that cannot be read, or that do not belong to the pictures; names file and place."""
