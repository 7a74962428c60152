"""A comparison's JSON: written after every change, read to resume it or to report it again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from runtime.measurement.errors import MeasurementError
from runtime.measurement.results import RunResult
from visionstack.compare.errors import MixedResultsError, NotRunError, RecordError
from visionstack.compare.targets import Kind
from visionstack.errors import VisionstackError
from visionstack.files import replace_file

SCHEMA: Final = 1
FILE: Final = "comparison.json"


class Status(StrEnum):
    """How far a row has come."""

    PLANNED = "planned"
    RUNNING = "running"
    MEASURED = "measured"
    NOT_RUN = "not-run"
    FAILED = "failed"

    @property
    def final(self) -> bool:
        """Whether a resumed run leaves the row alone."""
        return self in {Status.MEASURED, Status.NOT_RUN}


@dataclass
class Row:
    """One candidate, its price, and what was measured of it."""

    name: str
    kind: Kind
    status: Status = Status.PLANNED
    reason: str | None = None
    other_hardware: bool = False
    """Not run because this machine is not what it wants."""
    where: str = ""
    """Where it was measured: AWS and its region, the embedded cloud, or this machine."""
    usd_per_hour: float | None = None
    price_date: str | None = None
    setting: dict[str, Any] | None = None
    """A function's setting; of this machine's rows the `engine` and `precision`, unless auto."""
    result: dict[str, Any] | None = None
    """A machine's result (`runtime.measurement.results`)."""
    function: dict[str, Any] | None = None
    """A function's measurements (`visionstack.compare.functions`)."""
    checks: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def refuse(self, reason: str, *, other_hardware: bool = False) -> None:
        """It will not be run."""
        self.status, self.reason = Status.NOT_RUN, f"not run: {reason}"
        self.other_hardware = other_hardware

    def fail(self, error: Exception) -> None:
        """Failed, or not run, with the error's sentence as its reason."""
        self.status = Status.NOT_RUN if isinstance(error, NotRunError) else Status.FAILED
        self.reason = error.message if isinstance(error, VisionstackError) else str(error)
        if isinstance(error, MixedResultsError):
            self.result, self.function = None, None

    @property
    def has_measurements(self) -> bool:
        """Whether anything was measured."""
        found = (self.result or {}).get("measurements", [])
        return any(measurement["status"] == "measured" for measurement in found)

    def run_result(self) -> RunResult | None:
        """The machine's result, read back."""
        return RunResult.from_json(self.result) if self.result else None


@dataclass
class Record:
    """Everything about one comparison."""

    run: str
    cloud: str
    region: str
    model: str
    version: str
    task: str
    weights_trained: bool
    weights: str
    picture: str
    picture_sha256: str
    scenarios: list[str]
    scopes: list[str]
    seconds: float
    most_usd: float = 0.0
    prefix: str = "visionstack-compare"
    created: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    rows: list[Row] = field(default_factory=list)
    deployed: list[str] = field(default_factory=list)
    """Stacks that this comparison started and has not destroyed yet."""
    accuracy: dict[str, Any] = field(default_factory=dict)
    """Of each engine and precision over labels (`visionstack.compare.accuracy`); empty without."""

    @property
    def needs_cloud(self) -> bool:
        """Whether a row is still to be deployed, or something deployed is still to be destroyed."""
        return bool(self.deployed) or any(
            row.kind in {Kind.INSTANCE, Kind.FUNCTION} and not row.status.final for row in self.rows
        )

    def row(self, name: str) -> Row:
        """The row of that name."""
        return next(row for row in self.rows if row.name == name)

    def take(self, row: Row, result: RunResult) -> None:
        """Put a finished result into its row.

        Raises:
            MixedResultsError: it is of another model version or picture.
        """
        subject = result.subject
        if subject is not None:
            self.check_subject(
                version=str(subject.get("version")),
                picture_sha256=str(subject.get("picture_sha256")),
                row=row.name,
            )
        row.result = result.to_json()
        if result.failure:
            row.status, row.reason = Status.FAILED, result.failure
        elif row.has_measurements:
            row.status, row.reason = Status.MEASURED, None
        else:
            reasons = {m.reason for m in result.measurements if m.reason}
            row.status = Status.FAILED
            row.reason = "; ".join(sorted(reasons)) or "nothing was measured"

    def check_subject(self, *, version: str, picture_sha256: str, row: str) -> None:
        """Refuse a result that was measured with another model or picture.

        Raises:
            MixedResultsError: it was.
        """
        other = None
        if version != self.version:
            other = f"{self.model} version {version}, this comparison is of version {self.version}"
        elif picture_sha256 != self.picture_sha256:
            other = f"another picture than {self.picture}"
        if other is not None:
            raise MixedResultsError(
                f"{row} was measured with {other}.",
                remedy="Start a new comparison in another folder (--out).",
            )

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"schema": SCHEMA, **asdict(self)}

    def save(self, folder: Path) -> None:
        """Replace `comparison.json` in the folder.

        Raises:
            VisionstackError: it cannot be written.
        """
        replace_file(folder / FILE, json.dumps(self.to_json(), indent=1) + "\n")


def keep_earlier(folder: Path) -> Path | None:
    """Give the folder's comparison a name of its own, by when it was last written; returns that.

    Raises:
        RecordError: it cannot be renamed.
    """
    path = folder / FILE
    try:
        written = datetime.fromtimestamp(path.stat().st_mtime, UTC)
        return path.rename(path.with_stem(f"{path.stem}-{written:%Y%m%dT%H%M%SZ}"))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise RecordError(
            f"{path} is there already, and cannot be renamed: {error.strerror}.",
            remedy="Name another folder: --out",
        ) from error


def load(folder: Path) -> Record:
    """Read `comparison.json`, from its folder or by its own name.

    Raises:
        RecordError: it is missing, damaged, or of another schema.
    """
    path = folder if folder.suffix == ".json" else folder / FILE
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecordError(
            f"There is no comparison at {path}.", remedy="Start one: visionstack compare run …"
        ) from error
    except ValueError as error:
        raise RecordError(f"{path} is damaged: {error}.") from error
    try:
        if value.pop("schema") != SCHEMA:
            raise RecordError(f"{path} was written by another version of visionstack.")
        rows = [
            Row(**{**row, "kind": Kind(row["kind"]), "status": Status(row["status"])})
            for row in value.pop("rows")
        ]
        record = Record(**value, rows=rows)
        for row in rows:
            row.run_result()
    except (KeyError, TypeError, ValueError, AttributeError, MeasurementError) as error:
        raise RecordError(f"{path} is damaged: {error!r}.") from error
    return record


def merge(records: Sequence[Record]) -> Record:
    """Several comparisons of one model and picture as one; a later row replaces an earlier one.

    Raises:
        MixedResultsError: they differ in model, version or picture.
    """
    first = records[0]
    rows: dict[str, Row] = {}
    for record in records:
        if record.model != first.model:
            raise MixedResultsError(
                f"{record.run} compares {record.model}, {first.run} compares {first.model}: "
                "they cannot stand in one table.",
                remedy="Report them one by one.",
            )
        first.check_subject(
            version=record.version, picture_sha256=record.picture_sha256, row=record.run
        )
        rows |= {row.name: row for row in record.rows}
    return replace(
        first,
        rows=list(rows.values()),
        scenarios=list(dict.fromkeys(s for r in records for s in r.scenarios)),
        scopes=list(dict.fromkeys(s for r in records for s in r.scopes)),
        accuracy=_merged_accuracy(records),
    )


def _merged_accuracy(records: Sequence[Record]) -> dict[str, Any]:
    """All variants' accuracy where it is of the same labels; else that of the last record."""
    found: dict[str, Any] = {}
    for accuracy in (record.accuracy for record in records if record.accuracy):
        if any(found.get(key) != accuracy[key] for key in ("source", "labels", "metric")):
            found = {**accuracy, "variants": {}}
        found["variants"] |= accuracy["variants"]
    return found
