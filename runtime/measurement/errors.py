"""What can go wrong before or while a machine is measured."""

from __future__ import annotations


class MeasurementError(Exception):
    """Root of this package's errors; the text says what happened and which input it was."""


class ScenarioError(MeasurementError):
    """A scenario's name or number cannot be."""


class SettingsError(MeasurementError):
    """A setting is missing or cannot be."""


class WorkloadError(MeasurementError):
    """The model or the picture cannot be measured on this machine."""


class LoadGenError(MeasurementError):
    """LoadGen cannot run the scenario, or its run left no summary."""


class LoadGenMissingError(LoadGenError):
    """MLPerf's LoadGen is not installed: it has no wheel for this machine."""
