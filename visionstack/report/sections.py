"""The blocks a report is made of. They hold data only; each renderer draws them its own way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from visionstack.report.figures import Absent, Cell, Figure, Kind


@dataclass(frozen=True)
class Headline:
    """One large figure with a word under it."""

    label: str
    figure: Figure | Absent
    detail: str = ""


@dataclass(frozen=True)
class Headlines:
    """The few figures a reader takes away."""

    items: Sequence[Headline]
    title: str = ""
    intro: str = ""


@dataclass(frozen=True)
class Row:
    """A table's row; `kind` tints it, `winner` crowns it, `absent` greys it."""

    cells: Sequence[Cell]
    kind: Kind | None = None
    winner: bool = False
    absent: bool = False


@dataclass(frozen=True)
class Table:
    """Rows under named columns."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Row]
    intro: str = ""
    note: str = ""
    narrow: Sequence[int] = ()
    """Places of the columns that a terminal of fewer than 120 characters keeps; () keeps all."""

    def mark_meanings(self) -> list[str]:
        """What the exclamation marks in it stand for, each once."""
        figures = [cell for row in self.rows for cell in row.cells if isinstance(cell, Figure)]
        return list(dict.fromkeys(mark.meaning for figure in figures for mark in figure.marks))


@dataclass(frozen=True)
class Fact:
    """A name and what it is."""

    name: str
    value: Cell


@dataclass(frozen=True)
class Facts:
    """Names and values without columns."""

    title: str
    facts: Sequence[Fact]
    intro: str = ""


@dataclass(frozen=True)
class Note:
    """A sentence that must not be missed, such as "the weights are random"."""

    text: str
    level: Literal["info", "warning"] = "info"
    title: str = ""


@dataclass(frozen=True)
class Box:
    """A detection, in pixels of the picture it lies on."""

    label: str
    confidence: float | None
    """None where nobody estimated it, as for boxes that people drew."""
    x1: float
    y1: float
    x2: float
    y2: float

    @property
    def text(self) -> str:
        return self.label if self.confidence is None else f"{self.label} {self.confidence:.0%}"


@dataclass(frozen=True)
class Picture:
    """A JPEG or PNG, embedded in the page, with its boxes drawn over it."""

    data: bytes
    alt: str
    caption: str = ""
    boxes: Sequence[Box] = ()


@dataclass(frozen=True)
class Pictures:
    """Pictures side by side."""

    title: str
    pictures: Sequence[Picture]
    intro: str = ""
    pairs: bool = False
    """Each two of them stand beside one another, whatever the width."""


@dataclass(frozen=True)
class Entry:
    """One candidate of a ranking; `share` is 0 to 1."""

    label: str
    share: float


@dataclass(frozen=True)
class Ranking:
    """A picture's top-k with bars."""

    name: str
    entries: Sequence[Entry]
    picture: Picture | None = None
    detail: str = ""


@dataclass(frozen=True)
class Rankings:
    """Top-k lists side by side."""

    title: str
    rankings: Sequence[Ranking]
    intro: str = ""


@dataclass(frozen=True)
class Tile:
    """One of a row of things that are either as they should be or not."""

    name: str
    state: Literal["good", "bad", "idle"]
    detail: str = ""


@dataclass(frozen=True)
class TileRow:
    """Tiles that belong together, such as the environments that answered one round of calls."""

    name: str
    tiles: Sequence[Tile]
    detail: str = ""


@dataclass(frozen=True)
class Tiles:
    """Proof by counting: the warm pool's environments, warm or cold."""

    title: str
    rows: Sequence[TileRow]
    intro: str = ""


@dataclass(frozen=True)
class Samples:
    """Raw samples of one series, in the order they were taken."""

    name: str
    values: Sequence[float]
    kind: Kind = Kind.MEASURED


@dataclass(frozen=True)
class Latency:
    """Raw latencies: a distribution with its percentiles, and the same samples over time."""

    title: str
    series: Sequence[Samples]
    unit: str = "ms"
    intro: str = ""
    bounds: Mapping[str, float] = field(default_factory=dict)
    """Lines to hold the samples against, such as a frame's period."""


@dataclass(frozen=True)
class Point:
    """A machine in the plane of time and money."""

    name: str
    x: float
    y: float
    kind: Kind = Kind.MEASURED


@dataclass(frozen=True)
class Frontier:
    """Points of which some are beaten on both axes (less is better); the rest form the frontier."""

    title: str
    points: Sequence[Point]
    x_label: str
    y_label: str
    intro: str = ""


@dataclass(frozen=True)
class Line:
    """A curve through points (x, y)."""

    name: str
    points: Sequence[tuple[float, float]]
    kind: Kind = Kind.MEASURED


@dataclass(frozen=True)
class Lines:
    """Curves over one axis, with points where they cross or that a reader should find."""

    title: str
    lines: Sequence[Line]
    x_label: str
    y_label: str
    log_x: bool = False
    log_y: bool = False
    intro: str = ""
    points: Sequence[Point] = ()
    y_range: tuple[float, float] | None = None
    """Of the axis; None fits the lines."""


@dataclass(frozen=True)
class Bar:
    """One bar, or a stack of parts with names."""

    name: str
    parts: Mapping[str, float]
    kind: Kind = Kind.MEASURED


@dataclass(frozen=True)
class Bars:
    """Horizontal bars, stacked when a bar has several parts."""

    title: str
    bars: Sequence[Bar]
    x_label: str
    intro: str = ""
    log_x: bool = False


Plot = Latency | Frontier | Lines | Bars
Section = Headlines | Table | Facts | Note | Pictures | Rankings | Tiles | Plot


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")


@dataclass(frozen=True, kw_only=True)
class Report:
    """A title, the machine, and the sections in the order they are read."""

    title: str
    sections: Sequence[Section]
    subtitle: str = ""
    machine: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    created: str = field(default_factory=_now)
    data: Mapping[str, Any] | None = None
    """What `report.json` holds; without it, the sections themselves are written there."""
