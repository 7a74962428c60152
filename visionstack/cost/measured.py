"""Times for the cost model out of a comparison's JSON."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean, median

from visionstack.compare.record import load
from visionstack.compare.rows import Kind
from visionstack.compare.summary import Figures, figures
from visionstack.cost.errors import CostInputError
from visionstack.cost.prices import PriceBook


def rate_from(folder: Path, instance_type: str, *, book: PriceBook) -> float:
    """Images a second of an instance type, as a comparison measured it.

    Raises:
        RecordError: there is no comparison there.
        CostInputError: it did not measure that type.
    """
    return _row(folder, instance_type, book).images_per_second


def function_from(folder: Path, memory_mb: int, *, book: PriceBook) -> tuple[float, float]:
    """Mean seconds inside the function, and median INIT seconds, of that memory size.

    Raises:
        RecordError: there is no comparison there.
        CostInputError: it did not measure that size.
    """
    found = _row(folder, f"Lambda {memory_mb} MB", book)
    first = (found.row.function or {}).get("first", [])
    inits = [call["timings_ms"].get("init", 0.0) / 1000 for call in first if call["cold"]]
    return fmean(found.samples_s), median(inits) if inits else 0.0


def _row(folder: Path, name: str, book: PriceBook) -> Figures:
    record = load(folder)
    for row in record.rows:
        if row.name == name or (row.kind is Kind.FUNCTION and row.name.startswith(f"{name},")):
            found = figures(record, row, book=book)
            if found is not None:
                return found
    measured = [row.name for row in record.rows if figures(record, row, book=book) is not None]
    raise CostInputError(
        f"The comparison in {folder} did not measure {name}.",
        remedy=f"It measured: {', '.join(measured) or 'nothing'}. Or give the time yourself.",
    )
