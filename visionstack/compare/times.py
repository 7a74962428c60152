"""Times for the cost model out of a comparison's JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean, median
from typing import Any

from visionstack.compare.record import FILE, Record, Row, load
from visionstack.compare.summary import Figures, figures
from visionstack.compare.targets import Kind
from visionstack.cost.errors import CostInputError
from visionstack.cost.prices import PriceBook


@dataclass(frozen=True)
class ComparisonTimes:
    """The times in a comparison's folder, as `visionstack.cost.inputs.question` takes them."""

    folder: Path

    @property
    def origin(self) -> str:
        return f"measured, from {self.folder}"

    def rate(self, instance_type: str, *, book: PriceBook) -> float:
        """Images a second of an instance type (or of "this machine"), as it was measured.

        Raises:
            RecordError: there is no comparison there.
            CostInputError: it did not measure that type.
        """
        record = load(self.folder)
        found = _first(record, [row for row in record.rows if row.name == instance_type], book)
        if found is None:
            raise self._not_measured(record, instance_type, book)
        return found.images_per_second

    def function(
        self, memory_mb: int, *, arch: str, cold_start: str, book: PriceBook
    ) -> tuple[float, float]:
        """Mean seconds inside the function, and median INIT seconds, of that size and architecture.

        A row with the same answer to cold starts is taken before one with another.

        Raises:
            RecordError: there is no comparison there.
            CostInputError: it did not measure such a function.
        """
        record = load(self.folder)
        alike = [
            row
            for row in record.rows
            if row.kind is Kind.FUNCTION
            and row.setting is not None
            and (row.setting["memory_mib"], row.setting["arch"]) == (memory_mb, arch)
        ]
        alike.sort(key=lambda row: (row.setting or {})["cold_start"] != cold_start)
        found = _first(record, alike, book)
        if found is None:
            raise self._not_measured(record, f"Lambda {memory_mb} MB, {arch}", book)
        first = (found.row.function or {}).get("first", [])
        inits = [call["timings_ms"].get("init", 0.0) / 1000 for call in first if call["cold"]]
        return fmean(found.samples_s), median(inits) if inits else 0.0

    def _not_measured(self, record: Record, name: str, book: PriceBook) -> CostInputError:
        measured = [row.name for row in record.rows if figures(record, row, book=book) is not None]
        return CostInputError(
            f"The comparison in {self.folder} did not measure {name}.",
            remedy=f"It measured: {'; '.join(measured) or 'nothing'}. Or give the time yourself.",
        )


@dataclass(frozen=True)
class LastTimes:
    """What a last comparison and a last demo of this machine measured, where nothing else is named.

    A time that the comparison has of that very type or function is taken before one of this
    machine, and `origin` says which it was.
    """

    comparison: Path
    demo: Path
    """Its `report.json`."""
    told: list[str]

    @classmethod
    def found(cls, out: Path) -> LastTimes | None:
        """Those below a project's `out/`; None where there is neither."""
        comparison, demo = out / "compare", out / "demo" / "report.json"
        if not (comparison / FILE).is_file() and not demo.is_file():
            return None
        return cls(comparison, demo, [])

    @property
    def origin(self) -> str:
        return "; ".join(self.told)

    def rate(self, instance_type: str, *, book: PriceBook) -> float:
        """Raises CostInputError when neither has a rate."""
        if (self.comparison / FILE).is_file():
            record = load(self.comparison)
            rows = [row for row in record.rows if row.kind is not Kind.FUNCTION]
            rows.sort(key=lambda row: row.name != instance_type)
            found = _first(record, rows, book)
            if found is not None:
                self._tell(
                    f"the instance's rate is {found.row.name}'s ({record.model})", self.comparison
                )
                return found.images_per_second
        seconds = self._demo("streaming", "split_ms", "inference")
        self._tell("the instance's rate is this machine's inference of yolov3-tiny", self.demo)
        return 1000 / seconds

    def function(
        self, memory_mb: int, *, arch: str, cold_start: str, book: PriceBook
    ) -> tuple[float, float]:
        """Raises CostInputError when neither has a function's time."""
        if (self.comparison / FILE).is_file():
            try:
                found = ComparisonTimes(self.comparison).function(
                    memory_mb, arch=arch, cold_start=cold_start, book=book
                )
            except CostInputError:
                pass  # the demo may have one
            else:
                self._tell(f"the function's time is that of {memory_mb} MB", self.comparison)
                return found
        seconds = self._demo("classification", "warm_ms")
        self._tell(
            "the function's time is this machine's warm answer, whatever its memory", self.demo
        )
        return seconds / 1000, 0.0

    def _demo(self, *keys: str) -> float:
        try:
            value: Any = json.loads(self.demo.read_text(encoding="utf-8"))
            for key in keys:
                value = value[key]
            return float(value)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CostInputError(
                f"Neither {self.comparison} nor {self.demo} has a time for {keys[0]}.",
                remedy="Give --seconds and --images-per-second, or measure: make demo, or "
                "visionstack compare run --local --lambda 1769",
            ) from error

    def _tell(self, what: str, where: Path) -> None:
        file = where / FILE if where.is_dir() else where
        date = datetime.fromtimestamp(file.stat().st_mtime, UTC).date()
        self.told.append(f"{what}, as measured on {date} ({where})")


def _first(record: Record, rows: Sequence[Row], book: PriceBook) -> Figures | None:
    """The figures of the first of the rows that was measured."""
    return next((f for row in rows if (f := figures(record, row, book=book)) is not None), None)
