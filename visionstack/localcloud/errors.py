"""What can go wrong with the embedded cloud itself."""

from __future__ import annotations

from visionstack.errors import VisionstackError


class LocalCloudError(VisionstackError):
    """The embedded cloud could not be started, stopped or used."""


class PortTakenError(LocalCloudError):
    """Something that this project did not start listens on the port."""
