"""A row's figures: latencies, rate, price, cost of a million, share of the machine's limit."""

from __future__ import annotations

import statistics as stdlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from runtime.measurement.results import Measurement, RunResult
from runtime.measurement.statistics import Ratio, Summary, ratio, summarize
from visionstack.compare import Strategy
from visionstack.compare.record import Record, Row, Status
from visionstack.compare.targets import FunctionSetting
from visionstack.cost.bill import usd_per_million
from visionstack.cost.prices import PriceBook
from visionstack.cost.serverless import Function, request_usd

_RATE_ORDER: Final = ("offline", "multi-stream", "single-stream", "server")
"""The scenario whose throughput prices a machine: the one that keeps it busiest."""
_OFFERED: Final = ("server", "camera")
"""Scenarios whose rate is what was sent; what the machine could do follows from its times."""
_LATENCY_ORDER: Final = ("single-stream", "camera", "server", "multi-stream", "offline")
_SCOPE_ORDER: Final = ("picture", "network", "stream")


@dataclass(frozen=True)
class Figures:
    """What one measured row says; seconds and US dollars."""

    row: Row
    scope: str
    scenario: str
    latency: Summary
    samples_s: Sequence[float]
    """Of one picture each."""
    images_per_second: float
    rate_scenario: str
    usd_per_hour: float | None
    usd_per_million: float | None
    engine: str
    limit_share: float | None = None
    turns: Sequence[int] = ()
    """How many of the samples, in order, are of each turn; empty where they are of one."""
    first_s: Sequence[float] = ()
    """A function's first calls, as the desk waited for them."""
    desk_s: Sequence[float] = ()
    """A function's warm calls, as the desk waited for them."""
    cost_samples: Sequence[float] = field(default=(), repr=False)
    """USD of each sampled picture; empty without a price."""


def figures(record: Record, row: Row, *, book: PriceBook) -> Figures | None:
    """The figures of a measured row; None where nothing was measured (yet)."""
    if row.function is not None:
        return _function(row, row.function, book)
    result = row.run_result()
    return _machine(row, result) if result is not None else None


def _machine(row: Row, result: RunResult) -> Figures | None:
    measured = [m for m in result.measurements if m.status == "measured" and m.latency_s]
    if not measured:
        return None
    scope = next(s for s in _SCOPE_ORDER if any(m.scope == s for m in measured))
    here = [m for m in measured if m.scope == scope]
    shown = min(here, key=lambda m: _place(_LATENCY_ORDER, m.scenario))
    busiest = min(here, key=lambda m: _place(_RATE_ORDER, m.scenario))
    per_query = 8 if shown.scenario == "multi-stream" else 1
    samples = [sample / per_query for sample in shown.raw_s]
    rate = busiest.images_per_second or 0.0
    if busiest.scenario.partition(":")[0] in _OFFERED:
        rate = 1 / stdlib.fmean(busiest.raw_s)
    subject = result.subject or {}
    price = row.usd_per_hour
    return Figures(
        row=row,
        scope=scope,
        scenario=shown.scenario,
        latency=shown.latency_s or summarize(samples),
        samples_s=samples,
        images_per_second=rate,
        rate_scenario=busiest.scenario,
        usd_per_hour=price,
        usd_per_million=usd_per_million(images_per_second=rate, usd_per_hour=price)
        if price is not None and rate > 0
        else None,
        engine=f"{subject.get('engine', '?')} {subject.get('precision', '')}".strip(),
        limit_share=_limit_share(result, measured),
        turns=shown.turns,
        cost_samples=[sample * price / 3600 for sample in samples] if price is not None else (),
    )


def _place(order: Sequence[str], scenario: str) -> int:
    name = scenario.partition(":")[0]
    return order.index(name) if name in order else len(order)


def _limit_share(result: RunResult, measured: Sequence[Measurement]) -> float | None:
    """Operations a second of the network alone, against the largest product's."""
    flop = int((result.subject or {}).get("flop", 0))
    if not result.peak_flop_per_second or not flop:
        return None
    network = [m for m in measured if m.scope == "network"] or list(measured)
    rate = max(m.images_per_second or 0.0 for m in network)
    return flop * rate / result.peak_flop_per_second


def _function(row: Row, found: dict[str, Any], book: PriceBook) -> Figures | None:
    inside = [float(call["inside_s"]) for call in found.get("warm", [])]
    if not inside:
        return None
    setting = FunctionSetting(**(row.setting or {}))
    costs = [request_usd(priced(setting, seconds), book) for seconds in inside]
    mean = stdlib.fmean(inside)
    per_second = book[f"lambda.{setting.arch}.gb_second"].usd * setting.memory_mib / 1024
    engine = found.get("engine", {})
    return Figures(
        row=row,
        scope="picture",
        scenario="single-stream",
        latency=summarize(inside),
        samples_s=inside,
        images_per_second=1 / mean,
        rate_scenario="single-stream",
        usd_per_hour=per_second * 3600,
        usd_per_million=stdlib.fmean(costs) * 1e6,
        engine=f"{engine.get('name', '?')} {engine.get('precision', '')}".strip(),
        first_s=[float(call["seconds"]) for call in found.get("first", [])],
        desk_s=[float(call["seconds"]) for call in found.get("warm", [])],
        cost_samples=costs,
    )


def priced(setting: FunctionSetting, seconds: float) -> Function:
    """The function of a row as the cost model takes it: with its gateway and the kept picture."""
    return Function(
        memory_mb=setting.memory_mib,
        seconds=seconds,
        arch="arm64" if setting.arch == "arm64" else "x86_64",
        gateway="rest",
        puts_per_request=1,
    )


def to_cheapest(shown: Sequence[Figures]) -> dict[str, Ratio]:
    """Each priced row's cost of a picture over the cheapest row's, with its bootstrap interval.

    The value is the ratio of the costs of a million; the interval's width is that of the sampled
    pictures' mean costs.
    """
    priced_rows = [f for f in shown if f.usd_per_million and f.cost_samples]
    if not priced_rows:
        return {}
    best = min(priced_rows, key=lambda f: f.usd_per_million or 0.0)
    found = {}
    for figure in priced_rows:
        value = (figure.usd_per_million or 0.0) / (best.usd_per_million or 1.0)
        if figure is best:
            found[figure.row.name] = Ratio(1.0, 1.0, 1.0, 0.95)
            continue
        sampled = ratio(figure.cost_samples, best.cost_samples, of="mean")
        found[figure.row.name] = Ratio(
            value=value,
            low=value * sampled.low / sampled.value,
            high=value * sampled.high / sampled.value,
            confidence=sampled.confidence,
        )
    return found


@dataclass(frozen=True)
class Winner:
    """The row a strategy names, and why."""

    strategy: Strategy
    name: str
    why: str


def winner(shown: Sequence[Figures], strategy: Strategy) -> Winner | None:
    """One row by cost of a million, by median time, or by both; None where none can be judged.

    `balanced` takes the smallest product of a row's cost over the cheapest row's and its time over
    the fastest row's, so that twice as fast is worth twice as dear.
    """
    measured = [f for f in shown if f.row.status in {Status.MEASURED, Status.RUNNING}]
    judged = measured if strategy == "speed" else [f for f in measured if f.usd_per_million]
    if not judged:
        return None
    # A time of the network alone does not beat one of all that a picture takes.
    scope = min((f.scope for f in judged), key=_SCOPE_ORDER.index)
    judged = [f for f in judged if f.scope == scope]
    fastest = min(judged, key=lambda f: f.latency.p50)
    if strategy == "speed" and len(judged) == 1:
        return Winner(strategy, fastest.row.name, "the only row that was timed at this depth")
    if strategy == "speed":
        why = f"its median of {fastest.latency.p50 * 1000:.4g} ms a picture is the shortest"
        return Winner(strategy, fastest.row.name, f"{why} of {len(judged)} row{_s(judged)}")
    cheapest = min(judged, key=lambda f: f.usd_per_million or 0.0)
    if strategy == "cost":
        why = f"a million pictures cost ${cheapest.usd_per_million:.4g}, the least"
        return Winner(strategy, cheapest.row.name, f"{why} of {len(judged)} priced row{_s(judged)}")

    def badness(figure: Figures) -> float:
        cost = (figure.usd_per_million or 0.0) / (cheapest.usd_per_million or 1.0)
        return cost * figure.latency.p50 / fastest.latency.p50

    best = min(judged, key=badness)
    cost = (best.usd_per_million or 0.0) / (cheapest.usd_per_million or 1.0)
    why = _balanced_why(cost, best, fastest) if len(judged) > 1 else "the only priced row"
    return Winner(strategy, best.row.name, why)


def _balanced_why(cost: float, best: Figures, fastest: Figures) -> str:
    if best is fastest and cost == 1:
        return "both the cheapest and the fastest of the priced rows"
    money = "the cheapest row" if cost == 1 else f"{cost:.3g} times as dear as the cheapest row"
    slower = best.latency.p50 / fastest.latency.p50
    time = "the fastest" if slower == 1 else f"{slower:.3g} times as slow as the fastest"
    return f"{money} and {time}: the smallest product of cost and time"


def _s(rows: Sequence[object]) -> str:
    return "" if len(rows) == 1 else "s"
