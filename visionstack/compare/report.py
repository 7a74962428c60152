"""A comparison as a report: the table, the frontier, the distributions, and the papers' rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from statistics import median_high
from typing import Any, Final

from runtime.contract import Scope
from runtime.measurement import machine
from runtime.measurement.statistics import Ratio
from visionstack.compare import Strategy
from visionstack.compare.record import Record, Row, Status
from visionstack.compare.summary import Figures, figures, to_cheapest, winner
from visionstack.compare.targets import Kind as RowKind
from visionstack.compare.verdict import LOSS, candidates, judge
from visionstack.compare.verdict_report import verdict_sections
from visionstack.cost.prices import PriceBook
from visionstack.paper_reference import reference
from visionstack.report.figures import (
    NOT_HERE,
    Absent,
    Cell,
    Kind,
    computed,
    measured,
    paper,
    percentile_figures,
    ratio_figure,
)
from visionstack.report.sections import (
    Bar,
    Bars,
    Frontier,
    Headline,
    Headlines,
    Latency,
    Note,
    Point,
    Report,
    Samples,
    Section,
    Table,
)
from visionstack.report.sections import Row as TableRow

_LONGEST_REASON: Final = 120
_MEASURE: Final[dict[Strategy, str]] = {
    "cost": "by cost",
    "speed": "by speed",
    "balanced": "by cost and speed",
}
_COLUMNS: Final = (
    "row",
    "where",
    "engine",
    "p50",
    "p90",
    "p99",
    "images/s",
    "$/hour",
    "$ per million",
    "images per $",
    "share of limit",
    "to the cheapest",
)


def report_all(
    records: Sequence[Record],
    *,
    book: PriceBook,
    strategy: Strategy = "balanced",
    loss: float = LOSS,
) -> Report:
    """One model's report, or the verdict over several with the main table of each."""
    if len(records) == 1:
        return report(records[0], book=book, strategy=strategy, loss=loss)
    names = ", ".join(record.model for record in records)
    notes = [note for record in records for note in _notes(record)]
    return Report(
        title="Which network, and where should it run?",
        subtitle=f"{names}; {records[0].picture}",
        machine=machine.describe().line,
        versions=machine.versions(),
        sections=[
            *verdict_sections(
                judge(candidates(records, book=book), strategy=strategy, loss=loss), records
            ),
            *dict.fromkeys(notes),
            *(
                replace(table(record, book=book, strategy=strategy), title=record.model)
                for record in records
            ),
        ],
        data={"comparisons": [record.to_json() for record in records]},
    )


def report(
    record: Record, *, book: PriceBook, strategy: Strategy = "balanced", loss: float = LOSS
) -> Report:
    """The whole report of a comparison."""
    shown = [f for row in record.rows if (f := figures(record, row, book=book)) is not None]
    best = winner(shown, strategy) or winner(shown, "speed")
    sections: list[Section] = []
    if record.accuracy:
        verdict = judge(candidates([record], book=book), strategy=strategy, loss=loss)
        sections += verdict_sections(verdict, [record])
        # A second winner, named without regard to accuracy, would contradict the first.
        best = best if verdict is None else None
    if best is not None:
        found = next(f for f in shown if f.row.name == best.name)
        items = [
            Headline(
                f"winner, {_MEASURE[best.strategy]}: {best.name}",
                measured(found.latency.p50 * 1000, "ms", samples=found.latency.samples),
                best.why
                if best.strategy == strategy
                else f"{best.why}; no row has a price to judge by",
            )
        ]
        if found.usd_per_million is not None:
            items.append(
                Headline(
                    "a million pictures cost there",
                    computed(found.usd_per_million, "USD", source=_price_source(found, book)),
                )
            )
        sections.append(Headlines(items))
    sections += _notes(record)
    sections.append(table(record, book=book, strategy=strategy))
    sections += [_scenarios(record), _machines(record)]
    if points := _points(shown, record):
        sections.append(
            Frontier(
                "Time against price",
                points,
                "USD an hour while busy",
                "milliseconds a picture, p50",
                intro="Nearer to the lower left is better; what the dotted line misses is beaten "
                "on both axes.",
            )
        )
    series = [Samples(f.row.name, [s * 1000 for s in f.samples_s]) for f in shown]
    if series:
        sections.append(Latency("Latency, every sample", series[:6]))
    if bars := _first_calls(shown):
        sections.append(bars)
    return Report(
        title=f"{record.model}: where should it run?",
        subtitle=f"{record.picture}, version {record.version}, run {record.run}",
        machine=machine.describe().line,
        versions=machine.versions(),
        sections=sections,
        data=record.to_json(),
    )


def table(record: Record, *, book: PriceBook, strategy: Strategy = "balanced") -> Table:
    """The main table, whole or while it fills."""
    shown = {
        row.name: f for row in record.rows if (f := figures(record, row, book=book)) is not None
    }
    ratios = to_cheapest(list(shown.values()))
    best = winner(list(shown.values()), strategy)
    crowned = best.name if best else None
    rows = [
        _measured_row(shown[row.name], ratios.get(row.name), book, winner_name=crowned)
        if row.name in shown and row.status is not Status.NOT_RUN
        else _empty_row(row, book)
        for row in record.rows
    ]
    rows += _paper_rows(record)
    oldest, newest = book.dates()
    return Table(
        "Machines and functions side by side",
        list(_COLUMNS),
        rows,
        intro=f"{Scope.PICTURE.meaning.capitalize()}, unless a row says otherwise; "
        f"prices of {book.name}.",
        note=(
            f"Instances: on demand, us-east-1. Lambda: the time inside the function, with the "
            f"picture's way from and to S3; cost of duration, request, REST API and S3. Price "
            f"sources of {oldest} to {newest}. The cost of a million pictures is that of a machine "
            "that is busy all the time. Ratios carry a 95 % bootstrap interval."
        ),
        narrow=(0, 3, 5, 6, 8, 11),
    )


def _measured_row(
    found: Figures, against: Ratio | None, book: PriceBook, *, winner_name: str | None
) -> TableRow:
    source = _price_source(found, book)

    def priced(value: float | None, unit: str) -> Cell:
        return Absent("no price") if value is None else computed(value, unit, source=source)

    per_dollar = 1e6 / found.usd_per_million if found.usd_per_million else None
    name = found.row.name if found.scope == "picture" else f"{found.row.name} ({found.scope} only)"
    cells: list[Cell] = [
        name,
        found.row.where,
        found.engine,
        *percentile_figures(found.latency, "ms", scale=1000),
        measured(found.images_per_second, source=found.rate_scenario),
        priced(found.usd_per_hour, "USD"),
        priced(found.usd_per_million, "USD"),
        priced(per_dollar, ""),
        measured(found.limit_share * 100, "%") if found.limit_share is not None else "",
        ratio_figure(against) if against is not None else "",
    ]
    return TableRow(cells, winner=found.row.name == winner_name)


def _empty_row(row: Row, book: PriceBook) -> TableRow:
    absent = Absent(shortened(row.reason) if row.reason else row.status.value)
    if row.other_hardware:
        absent = NOT_HERE
    price: Cell = ""
    if row.usd_per_hour is not None:
        price = computed(row.usd_per_hour, "USD", source=f"on demand, {row.price_date}")
    cells: list[Cell] = [row.name, row.where, "", absent, "", "", "", price, "", "", "", ""]
    return TableRow(cells, absent=True)


def shortened(reason: str) -> str:
    """A reason's first line, cut where a table cell ends; the record holds all of it."""
    first = reason.strip().splitlines()[0].rstrip(":")
    return first if len(first) <= _LONGEST_REASON else f"{first[: _LONGEST_REASON - 1]}…"


def _price_source(found: Figures, book: PriceBook) -> str:
    if found.row.kind is RowKind.FUNCTION:
        return f"Lambda prices of book {book.name}"
    if found.row.kind is RowKind.MACHINE:
        return "--usd-per-hour"
    return f"on demand, {found.row.price_date}"


def _paper_rows(record: Record) -> list[TableRow]:
    """The papers' own times for this model, as reference."""
    rows = []
    for item, price in _printed(record):
        seconds = item["seconds"]
        source = "Yun, Kim and Jeong 2019, tables 1 to 3 and section 4.2"
        money: list[Cell] = ["", ""]
        if price:
            money = [
                paper(price, "USD", source="table 2", printed=str(price)),
                computed(price / 3600 * seconds * 1e6, "USD", source="price x printed time"),
            ]
        time = paper(seconds * 1000, "ms", source=source)
        where = item["accelerator"] or "CPU"
        cells = [f"{item['host']} (2019)", where, "darknet", time, "", "", "", *money, "", "", ""]
        rows.append(TableRow(cells, kind=Kind.PAPER))
    if record.model == "resnet50":
        times = reference()["serverless_2020"]["milliseconds"]
        for word, key in (("second call", "second_invocation"), ("warmed", "after_warm_up")):
            source = "Lee, Lee and Kim 2020, section 4.2"
            figure = paper(times[key], "ms", source=source, printed=str(times[key]))
            rows.append(
                TableRow(
                    [f"Lambda 768 MB, {word} (2020)", "AWS", "PyTorch", figure, *[""] * 8],
                    kind=Kind.PAPER,
                )
            )
    return rows


def _notes(record: Record) -> list[Section]:
    notes: list[Section] = []
    if not record.weights_trained:
        notes.append(
            Note(
                f"{record.model} has random weights here ({record.weights}): its times are real, "
                "its detections mean nothing.",
                "warning",
                title="Random weights",
            )
        )
    said = dict.fromkeys(note for row in record.rows for note in row.notes)
    notes += [Note(f"{note[0].upper()}{note[1:]}.") for note in said]
    return notes


def _scenarios(record: Record) -> Table:
    """Every scenario of every machine, with LoadGen's own verdict."""
    rows = []
    for row in record.rows:
        result = row.run_result()
        for found in result.measurements if result else []:
            where = [row.name, found.scenario, Scope(found.scope).meaning]
            if found.latency_s is None:
                reason = Absent(found.reason or "failed")
                rows.append(TableRow([*where, reason, "", "", "", ""], absent=True))
                continue
            verdict = found.reason or ""
            if found.loadgen is not None:
                verdict = "valid" if found.loadgen["valid"] else "not valid"
            if found.camera is not None:
                share = found.camera["dropped_or_late_share"]
                verdict = (
                    f"{found.camera['dropped']} dropped and {found.camera['late']} late of "
                    f"{found.camera['frames']} ({share:.1%})"
                )
            times = percentile_figures(found.latency_s, "ms", scale=1000)
            rate = measured(found.images_per_second or 0.0, samples=found.pictures)
            rows.append(TableRow([*where, *times, rate, verdict]))
    columns = ["row", "scenario", "scope", "p50", "p90", "p99", "images/s", "verdict"]
    note = (
        "MLPerf's scenarios by its own LoadGen, whose log files lie beside comparison.json; runs "
        "of this length are no submission. Latencies of multi-stream are of eight pictures, of "
        "offline from the one query that holds them all. Not valid: too few queries for MLPerf's "
        "early-stopping rule, or its latency bound was missed."
    )
    return Table("Every scenario", columns, rows, note=note, narrow=(0, 1, 2, 3, 5, 7))


def _machines(record: Record) -> Table:
    """What each row ran on and with."""
    rows = []
    for row in record.rows:
        result = row.run_result()
        if result is None:
            continue
        found = result.machine
        cards = ", ".join(f"{card.name}, driver {card.driver}" for card in found.gpus) or "none"
        peak = result.peak_flop_per_second
        rows.append(
            TableRow(
                [
                    row.name,
                    f"{found.cpu}, {found.cores} cores, {found.memory_gib:.0f} GiB",
                    cards,
                    result.image or found.system,
                    measured(peak / 1e12, "TFLOP/s") if peak else "",
                    ", ".join(f"{name} {version}" for name, version in result.versions.items()),
                ]
            )
        )
    return Table(
        "Machines and versions",
        ["row", "machine", "GPU and driver", "image or system", "limit", "versions"],
        rows,
        note="The limit is the largest matrix product the machine reached, in the engine's own "
        "precision; shares of it count a model's operations.",
        narrow=(0, 1, 2, 4),
    )


def _points(shown: Sequence[Figures], record: Record) -> list[Point]:
    points = [
        Point(f.row.name, f.usd_per_hour, f.latency.p50 * 1000)
        for f in shown
        if f.usd_per_hour is not None
    ]
    points += [
        Point(f"{item['host']} (2019)", price, item["seconds"] * 1000, Kind.PAPER)
        for item, price in _printed(record)
        if price and points
    ]
    return points


def _printed(record: Record) -> list[tuple[dict[str, Any], float | None]]:
    """What the 2019 paper prints of this model, each with the price of its host's hour."""
    streaming = reference()["streaming_2019"]
    prices = streaming["usd_per_hour_2019"]
    printed = streaming["seconds_per_image"]
    return [(one, prices.get(one["host"])) for one in printed if one["model"] == record.model]


def _first_calls(shown: Sequence[Figures]) -> Bars | None:
    """What a user waits for when no environment is warm, and when one is."""
    bars = []
    for found in shown:
        if found.first_s:
            first, warm = median_high(found.first_s), median_high(found.desk_s)
            bars.append(Bar(f"{found.row.name}: first", {"seconds": first}))
            bars.append(Bar(f"{found.row.name}: warm", {"seconds": warm}))
    if not bars:
        return None
    milliseconds = reference()["serverless_2020"]["milliseconds"]
    bars.append(
        Bar("the paper's first call", {"s": milliseconds["first_invocation"] / 1000}, Kind.PAPER)
    )
    return Bars(
        "First and warm calls, as the desk waits for them",
        bars,
        "seconds (median)",
        log_x=True,
    )
