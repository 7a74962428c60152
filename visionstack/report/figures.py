"""A figure and what stands behind it: measured here, printed in a paper, or computed."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass
from enum import StrEnum
from functools import partial
from typing import Any, Final

from runtime.measurement.statistics import Mark, Ratio, Summary


class Kind(StrEnum):
    """Where a figure comes from; each kind has its own look in every rendering."""

    MEASURED = "measured"
    PAPER = "paper"
    COMPUTED = "computed"

    @property
    def symbol(self) -> str:
        """Tells the kinds apart without colour."""
        return {Kind.MEASURED: "●", Kind.PAPER: "❝", Kind.COMPUTED: "ƒ"}[self]

    @property
    def meaning(self) -> str:
        """One clause for the legend."""
        return {
            Kind.MEASURED: "measured by this command, on the machine named",
            Kind.PAPER: "printed in a paper, never measured here",
            Kind.COMPUTED: "computed from measured figures and a dated price list",
        }[self]


@dataclass(frozen=True)
class Figure:
    """One value with its unit and what a reader needs to trust it."""

    value: float
    unit: str = ""
    _: KW_ONLY
    kind: Kind = Kind.MEASURED
    samples: int | None = None
    spread: tuple[float, float] | None = None
    """Lowest and highest of the range `spread_is` names, in the figure's unit."""
    spread_is: str = "p10 to p90"
    marks: tuple[Mark, ...] = ()
    source: str | None = None
    """Table of the paper, or the formula and price date of a computed figure."""
    printed: str | None = None
    """The number exactly as a paper prints it."""

    @property
    def number(self) -> str:
        """The number alone, at a precision that suits its size."""
        return self.printed if self.printed is not None else format_number(self.value)

    @property
    def text(self) -> str:
        """Number and unit."""
        if self.unit == "USD":
            return f"${self.printed if self.printed is not None else format_dollars(self.value)}"
        if self.unit in {"%", "x"}:
            return f"{self.number}{self.unit}"
        return f"{self.number} {self.unit}".rstrip()

    @property
    def interval(self) -> str:
        """A confidence interval in a few characters; empty where the spread is another."""
        if self.spread is None or not self.spread_is.endswith("interval"):
            return ""
        low, high = (format_number(end) for end in self.spread)
        return "" if low == high else f"{low} to {high}"

    @property
    def background(self) -> str:
        """Samples, spread, marks and source in one line; empty when there is nothing to say."""
        parts = []
        if self.samples is not None:
            parts.append(f"{self.samples:,} sample{'' if self.samples == 1 else 's'}")
        if self.spread is not None:
            low, high = (format_number(end) for end in self.spread)
            parts.append(f"{self.spread_is} {low} to {high} {self.unit}".rstrip())
        parts += [mark.meaning for mark in self.marks]
        if self.source:
            parts.append(self.source)
        return "; ".join(parts)

    def to_json(self) -> dict[str, Any]:
        """Plain values; absent ones are left out."""
        value: dict[str, Any] = {"value": self.value, "unit": self.unit, "kind": self.kind.value}
        if self.samples is not None:
            value["samples"] = self.samples
        if self.spread is not None:
            value["spread"] = {"is": self.spread_is, "low": self.spread[0], "high": self.spread[1]}
        if self.marks:
            value["marks"] = [mark.value for mark in self.marks]
        if self.source:
            value["source"] = self.source
        if self.printed is not None:
            value["printed"] = self.printed
        return value


@dataclass(frozen=True)
class Absent:
    """Stands where a figure would be, and says why there is none.

    For example "not run: not available on this machine".
    """

    reason: str

    def to_json(self) -> dict[str, str]:
        """Plain values."""
        return {"absent": self.reason}


NOT_HERE: Final = Absent("not run: not available on this machine")
"""It needs other hardware."""

Cell = str | Figure | Absent
"""What a table may hold."""


measured = partial(Figure, kind=Kind.MEASURED)
"""A figure this run measured."""


def paper(value: float, unit: str = "", *, source: str, printed: str | None = None) -> Figure:
    """A figure read from a paper; `source` names its table or figure."""
    return Figure(value, unit, kind=Kind.PAPER, source=source, printed=printed)


def computed(value: float, unit: str = "", *, source: str) -> Figure:
    """A figure calculated from others; `source` says from which, and from prices of which date."""
    return Figure(value, unit, kind=Kind.COMPUTED, source=source)


def percentile_figures(
    summary: Summary, unit: str, *, scale: float = 1.0
) -> tuple[Figure, Figure, Figure]:
    """p50, p90 and p99 of `summary` times `scale` (1000 makes milliseconds of seconds)."""
    body = tuple(mark for mark in summary.marks if mark is not Mark.TAIL_UNRESOLVED)
    spread = (summary.p10 * scale, summary.p90 * scale)

    def figure(value: float, marks: tuple[Mark, ...]) -> Figure:
        return measured(value * scale, unit, samples=summary.samples, spread=spread, marks=marks)

    return figure(summary.p50, body), figure(summary.p90, body), figure(summary.p99, summary.marks)


def ratio_figure(ratio: Ratio) -> Figure:
    """A computed ratio with its bootstrap interval."""
    return Figure(
        ratio.value,
        "x",
        kind=Kind.COMPUTED,
        spread=(ratio.low, ratio.high),
        spread_is=f"{ratio.confidence:.0%} interval",
    )


def format_number(value: float) -> str:
    """Three to four telling digits, no exponent above 1e-9: 13.5, 0.0234, 511,628."""
    if not math.isfinite(value):
        return "not a number" if math.isnan(value) else ("∞" if value > 0 else "-∞")
    size = abs(value)
    if size >= 1000 or value == int(value):
        return f"{value:,.0f}"
    if size < 1e-9:
        return f"{value:.3g}"
    decimals = 1 if size >= 100 else 2 - min(0, math.floor(math.log10(size)))
    return _trim(f"{value:.{decimals}f}")


def format_dollars(value: float) -> str:
    """As prices are written: 3.30, 1,234, and below a dollar with four digits, 0.1785."""
    if 1e-9 <= abs(value) < 1:
        text = _trim(f"{value:.{3 - math.floor(math.log10(abs(value)))}f}")
    else:
        text = format_number(value)
    return f"{text}0" if text[-2:-1] == "." else text


def _trim(text: str) -> str:
    return text.rstrip("0").rstrip(".") if "." in text else text
