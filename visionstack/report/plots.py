"""Plots as inline SVG: text stays text, colours are the page's own variables, nothing is fetched.

matplotlib draws with placeholder colours that are then replaced by CSS variables, so that one
drawing serves the light and the dark page.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any, Final

from runtime.measurement.statistics import summarize
from visionstack.placing import place_labels
from visionstack.report.figures import Kind, format_number
from visionstack.report.lines import latency_lines
from visionstack.report.sections import Bars, Frontier, Latency, Lines, Plot, Point, Samples

if TYPE_CHECKING:
    from collections.abc import Iterator

_INK: Final = "#010101"
_MUTED: Final = "#010102"
_GRID: Final = "#010103"
_SERIES: Final = tuple(f"#0102{n:02d}" for n in range(1, 7))
_PAPER: Final = "#010301"
_VARIABLES: Final = {
    _INK: "var(--ink)",
    _MUTED: "var(--muted)",
    _GRID: "var(--line)",
    _PAPER: "var(--paper)",
    **{colour: f"var(--s{n})" for n, colour in enumerate(_SERIES, 1)},
}
_STYLE: Final = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 10.0,
    # Names are text: `$\foo$` is no formula.
    "text.parse_math": False,
    "text.color": _INK,
    "axes.labelcolor": _MUTED,
    "axes.edgecolor": _GRID,
    "axes.grid": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": _GRID,
    "grid.linewidth": 0.7,
    "xtick.color": _MUTED,
    "ytick.color": _MUTED,
    "xtick.labelsize": 9.0,
    "ytick.labelsize": 9.0,
    "legend.frameon": False,
    "legend.fontsize": 9.0,
}
_SIZE: Final = (5.2, 3.1)
_LONG_NAME: Final = 18
"""Characters of a series' name from which on two do not fit side by side."""
_LEGEND_ROW_INCHES: Final = 0.2
_MOST_POINTS: Final = 1500
_MARKER: Final = 7.0
"""Pixels from a point's middle that no name may take."""


@dataclass(frozen=True)
class Drawing:
    """One SVG element and the sentence that says what it shows."""

    svg: str
    caption: str


def draw(plot: Plot, *, key: str) -> list[Drawing]:
    """The plot's drawings; `key` makes the identifiers of their elements unique in a page."""
    if isinstance(plot, Latency):
        return [_distribution(plot, f"{key}a"), _timeline(plot, f"{key}b")]
    if isinstance(plot, Frontier):
        return [_frontier(plot, key)]
    if isinstance(plot, Lines):
        return [_lines(plot, key)]
    return [_bars(plot, key)]


def efficient(points: Sequence[Point]) -> list[Point]:
    """The points that no other beats in x and y at once (less is better), by rising x."""
    front: list[Point] = []
    for point in sorted(points, key=lambda p: (p.x, p.y)):
        if not front or point.y < front[-1].y:
            front.append(point)
    return front


@contextmanager
def _axes(key: str, *, size: tuple[float, float] = _SIZE) -> Iterator[tuple[Any, list[str]]]:
    """Axes to draw on; the SVG is appended to the list when the block ends."""
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with mpl.rc_context({**_STYLE, "svg.hashsalt": key}):
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasSVG(figure)
        figure.patch.set_alpha(0)
        axes = figure.add_subplot()
        axes.patch.set_alpha(0)
        done: list[str] = []
        yield axes, done
        file = io.StringIO()
        figure.savefig(
            file,
            format="svg",
            metadata={"Date": None, "Creator": None, "Format": None, "Type": None},
        )
        done.append(file.getvalue())


def _finish(svg: str, key: str, label: str) -> str:
    """Make matplotlib's document an element that can be put into a page and read aloud."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r'id="([^"]+)"', rf'id="{key}-\1"', svg)
    svg = re.sub(r'href="#([^"]+)"', rf'href="#{key}-\1"', svg)
    svg = re.sub(r"url\(#([^)]+)\)", rf"url(#{key}-\1)", svg)
    svg = re.sub(r"font: ([0-9.]+)px [^;\"]*", r"font: \1px var(--sans)", svg)
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, variable)
    head, _, body = svg.partition(">")
    head = re.sub(r'\s(width|height)="[^"]*pt"', "", head)
    return f'{head} role="img" aria-label="{escape(label)}"><title>{escape(label)}</title>{body}'


def _colour(index: int, kind: Kind = Kind.MEASURED) -> str:
    return _PAPER if kind is Kind.PAPER else _SERIES[index % len(_SERIES)]


def _thin(values: Sequence[float]) -> tuple[list[float], list[float]]:
    """At most `_MOST_POINTS` of the samples with their places; every maximum is kept."""
    step = max(1, math.ceil(len(values) / _MOST_POINTS))
    places, kept = [], []
    for start in range(0, len(values), step):
        chunk = values[start : start + step]
        top = max(range(len(chunk)), key=chunk.__getitem__)
        places.append(float(start + top))
        kept.append(chunk[top])
    return places, kept


def _distribution(plot: Latency, key: str) -> Drawing:
    with _axes(key) as (axes, done):
        drawn = [s for s in plot.series if s.values]
        for index, series in enumerate(drawn):
            colour = _colour(index, series.kind)
            ordered = sorted(series.values)
            shares = [(n + 1) / len(ordered) for n in range(len(ordered))]
            axes.step(ordered, shares, where="post", color=colour, linewidth=2, label=series.name)
            summary = summarize(ordered)
            for q, x in ((0.5, summary.p50), (0.9, summary.p90), (0.99, summary.p99)):
                axes.plot([x], [q], marker="o", markersize=4.5, color=colour)
                if len(drawn) == 1:
                    _write(axes, f"p{q * 100:.0f} {format_number(x)}", (x, q), offset=(6, -12))
        _bound_lines(axes, plot, vertical=True)
        axes.set_xlabel(plot.unit)
        axes.set_ylabel("share of samples at or below")
        axes.set_ylim(0, 1.03)
        if _has_outlier(drawn):
            axes.set_xscale("log")
        _plain_ticks(axes, y=False)
        _legend_above(axes)
    return Drawing(
        _finish(done[0], key, f"Distribution. {'; '.join(latency_lines(plot))}"), "Distribution"
    )


def _has_outlier(drawn: Sequence[Samples]) -> bool:
    """A single outlier must not press the rest into one line: then the axis is logarithmic."""
    values = [value for series in drawn for value in series.values]
    return bool(values) and min(values) > 0 and max(values) > 20 * summarize(values).p50


def _write(
    axes: Any, text: str, at: tuple[float, float], *, offset: tuple[float, float], **style: str
) -> None:
    """Text beside a point, so many points of the font away."""
    axes.annotate(
        text, at, offset, textcoords="offset points", fontsize=9, **{"color": _INK, **style}
    )


def _timeline(plot: Latency, key: str) -> Drawing:
    with _axes(key) as (axes, done):
        drawn = [s for s in plot.series if s.values]
        for index, series in enumerate(drawn):
            places, kept = _thin(series.values)
            axes.plot(
                places,
                kept,
                linestyle="none",
                marker=".",
                markersize=3.5,
                color=_colour(index, series.kind),
                label=series.name,
                rasterized=False,
            )
        _bound_lines(axes, plot, vertical=False)
        axes.set_xlabel("sample, in the order taken")
        axes.set_ylabel(plot.unit)
        if _has_outlier(drawn):
            axes.set_yscale("log")
        else:
            axes.set_ylim(bottom=0)
        _plain_ticks(axes)
        _legend_above(axes)
    names = ", ".join(s.name for s in plot.series)
    return Drawing(_finish(done[0], key, f"Samples over time: {names}"), "Over time")


def _legend_above(axes: Any) -> None:
    """Above the axes, where it covers no sample; a single series needs none."""
    names = axes.get_legend_handles_labels()[1]
    if len(names) < 2:
        return
    # A row wider than the axes would make the layout shrink them, so the figure grows instead.
    columns = 1 if max(map(len, names)) > _LONG_NAME else 3 if len(names) <= 3 else 2
    rows = math.ceil(len(names) / columns)
    figure = axes.figure
    width, height = figure.get_size_inches()
    figure.set_size_inches(width, height + rows * _LEGEND_ROW_INCHES)
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=columns, columnspacing=1.2)


def _bound_lines(axes: Any, plot: Latency, *, vertical: bool) -> None:
    for name, value in plot.bounds.items():
        line = axes.axvline if vertical else axes.axhline
        line(value, color=_MUTED, linestyle="--", linewidth=1.2, label=name)


def _frontier(plot: Frontier, key: str) -> Drawing:
    front = efficient([p for p in plot.points if p.kind is not Kind.PAPER])
    with _axes(key, size=(6.4, 3.8)) as (axes, done):
        if len(front) > 1:
            axes.plot(
                [p.x for p in front],
                [p.y for p in front],
                color=_SERIES[0],
                linewidth=1.2,
                linestyle=":",
            )
        for point in plot.points:
            is_paper = point.kind is Kind.PAPER
            axes.plot(
                [point.x],
                [point.y],
                marker="s" if is_paper else "o",
                markersize=7,
                linestyle="none",
                markerfacecolor="none" if is_paper or point not in front else _SERIES[0],
                markeredgecolor=_PAPER if is_paper else _SERIES[0],
            )
        if _spans_decades([p.x for p in plot.points]):
            axes.set_xscale("log")
        if _spans_decades([p.y for p in plot.points]):
            axes.set_yscale("log")
        axes.margins(0.18)
        _plain_ticks(axes)
        axes.set_xlabel(plot.x_label)
        axes.set_ylabel(plot.y_label)
        _name_points(axes, plot.points)
    names = ", ".join(p.name for p in front) or "none"
    return Drawing(
        _finish(done[0], key, f"{plot.title}. Not beaten on both axes: {names}"),
        f"Filled: not beaten on both axes ({names}). Squares: the papers.",
    )


def _name_points(axes: Any, points: Sequence[Point]) -> None:
    """Names beside their points, none over another, a line to those that lie further away."""
    figure = axes.figure
    figure.draw_without_rendering()  # gives everything its place
    frame, points_a_pixel = axes.bbox, 72 / figure.dpi
    boxes, sizes = [], []
    for point in points:
        x, y = axes.transData.transform((point.x, point.y)) - (frame.x0, frame.y0)
        down = frame.height - y  # the placing counts from above
        boxes.append((x - _MARKER, down - _MARKER, x + _MARKER, down + _MARKER))
        text = figure.text(0, 0, point.name, fontsize=9)
        extent = text.get_window_extent()
        sizes.append((extent.width, extent.height))
        text.remove()
    places = place_labels(boxes, sizes, (frame.width, frame.height))
    for point, box, size, place in zip(points, boxes, sizes, places, strict=True):
        if place is None:
            continue  # the tables name it
        x, y = box[0] + _MARKER, box[1] + _MARKER
        # Browsers' letters are narrower: the side towards the point stays where it is.
        leftward = place[0] + size[0] / 2 < x
        right = place[0] + size[0] * leftward - x
        up = y - place[1] - size[1] / 2
        far = abs(up) > 2 * size[1]
        axes.annotate(
            point.name,
            (point.x, point.y),
            (right * points_a_pixel, up * points_a_pixel),
            textcoords="offset points",
            fontsize=9,
            color=_PAPER if point.kind is Kind.PAPER else _INK,
            ha="right" if leftward else "left",
            va="center",
            arrowprops={"arrowstyle": "-", "color": _MUTED, "linewidth": 0.6} if far else None,
            in_layout=False,
        )


def _spans_decades(values: Sequence[float]) -> bool:
    """Whether a logarithmic axis shows them better; over less, it has hardly a labelled tick."""
    return bool(values) and min(values) > 0 and max(values) > 10 * min(values)


def _lines(plot: Lines, key: str) -> Drawing:
    with _axes(key, size=(6.4, 3.8)) as (axes, done):
        for index, line in enumerate(plot.lines):
            axes.plot(
                [x for x, _ in line.points],
                [y for _, y in line.points],
                color=_colour(index, line.kind),
                linewidth=2,
                linestyle="--" if line.kind is Kind.PAPER else "-",
                marker="o" if line.kind is Kind.MEASURED and len(line.points) <= 40 else None,
                markersize=4,
                label=line.name,
            )
        for point in plot.points:
            axes.plot([point.x], [point.y], marker="o", markersize=6, color=_INK)
            _write(axes, point.name, (point.x, point.y), offset=(8, -14))
        if plot.log_x:
            axes.set_xscale("log")
        if plot.log_y:
            axes.set_yscale("log")
        _plain_ticks(axes)
        if not plot.log_x and all(
            float(x).is_integer() for one in plot.lines for x, _ in one.points
        ):
            axes.xaxis.get_major_locator().set_params(integer=True)
        if plot.y_range is not None:
            axes.set_ylim(*plot.y_range)
        axes.set_xlabel(plot.x_label)
        axes.set_ylabel(plot.y_label)
        if len(plot.lines) > 1:
            axes.legend(loc="best")
    names = ", ".join(line.name for line in plot.lines)
    marks = "; ".join(point.name for point in plot.points)
    return Drawing(_finish(done[0], key, f"{plot.title}: {names}. {marks}"), marks)


def _bars(plot: Bars, key: str) -> Drawing:
    count = len(plot.bars)
    ours = [bar for bar in plot.bars if bar.kind is not Kind.PAPER]
    parts = list(dict.fromkeys(part for bar in ours for part in bar.parts))
    with _axes(key, size=(6.4, 0.9 + 0.42 * max(count, 2))) as (axes, done):
        for place, bar in enumerate(reversed(plot.bars)):
            left = 0.0
            for part, value in bar.parts.items():
                axes.barh(
                    place,
                    value,
                    left=left,
                    height=0.62,
                    facecolor="none" if bar.kind is Kind.PAPER else _colour(parts.index(part)),
                    edgecolor=_PAPER if bar.kind is Kind.PAPER else "none",
                    linestyle="--" if bar.kind is Kind.PAPER else "-",
                    linewidth=1.4,
                )
                left += value
            _write(axes, format_number(left), (left, place), offset=(5, 0), va="center")
        axes.set_yticks(range(count), [bar.name for bar in reversed(plot.bars)])
        axes.grid(visible=False, axis="y")
        if plot.log_x:
            axes.set_xscale("log")
        axes.margins(x=0.14)
        _plain_ticks(axes, y=False)
        axes.set_xlabel(plot.x_label)
        if len(parts) > 1:
            from matplotlib.patches import Patch

            handles = [Patch(color=_colour(n), label=part) for n, part in enumerate(parts)]
            axes.legend(
                handles=handles, loc="lower left", bbox_to_anchor=(0, 1), ncols=min(4, len(parts))
            )
    total = ", ".join(f"{bar.name} {format_number(sum(bar.parts.values()))}" for bar in plot.bars)
    return Drawing(_finish(done[0], key, f"{plot.title}: {total}"), "")


def _plain_ticks(axes: Any, *, y: bool = True) -> None:
    """Ticks as people write numbers; powers of ten only where they are shorter."""
    from matplotlib.ticker import FuncFormatter, NullFormatter

    def text(value: float, _: int) -> str:
        if value and not 1e-3 <= abs(value) < 1e7:
            return f"{value:.0e}".replace("e+0", "e").replace("e-0", "e-").replace("e+", "e")
        return format_number(value)

    axes.autoscale_view()
    for axis in (axes.xaxis, axes.yaxis) if y else (axes.xaxis,):
        axis.set_major_formatter(FuncFormatter(text))
        if axis.get_scale() == "log":
            low, high = sorted(axis.get_view_interval())
            if low > 0 and high / low > 300:
                axis.set_minor_formatter(NullFormatter())
            else:
                axis.set_minor_formatter(FuncFormatter(_few_minor_ticks))


def _few_minor_ticks(value: float, _: int) -> str:
    lead = value / 10 ** math.floor(math.log10(value)) if value > 0 else 0
    return format_number(value) if round(lead, 6) in {2.0, 5.0} else ""
