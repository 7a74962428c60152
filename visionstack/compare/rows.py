"""What becomes of a row when its result is there, or when it failed."""

from __future__ import annotations

from runtime.measurement.results import RunResult
from visionstack.compare.errors import MixedResultsError, NotRunError
from visionstack.compare.record import Record, Row, Status
from visionstack.errors import VisionstackError


def take(record: Record, row: Row, result: RunResult) -> None:
    """Put a finished result into its row.

    Raises:
        MixedResultsError: it is of another model version or picture.
    """
    subject = result.subject
    if subject is not None:
        record.check_subject(
            version=str(subject.get("version")),
            picture_sha256=str(subject.get("picture_sha256")),
            row=row.name,
        )
    row.result = result.to_json()
    if result.failure:
        row.status, row.reason = Status.FAILED, result.failure
    elif has_measurements(row):
        row.status, row.reason = Status.MEASURED, None
    else:
        reasons = {m.reason for m in result.measurements if m.reason}
        row.status = Status.FAILED
        row.reason = "; ".join(sorted(reasons)) or "nothing was measured"


def has_measurements(row: Row) -> bool:
    """Whether anything was measured."""
    found = (row.result or {}).get("measurements", [])
    return any(measurement["status"] == "measured" for measurement in found)


def fail(row: Row, error: Exception) -> None:
    """Failed, or not run, with the error's sentence as its reason."""
    text = error.message if isinstance(error, VisionstackError) else str(error)
    row.status = Status.NOT_RUN if isinstance(error, NotRunError) else Status.FAILED
    row.reason = text
    if isinstance(error, MixedResultsError):
        row.result, row.function = None, None
