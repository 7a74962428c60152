"""Which candidate is worth its money: accuracy, time and dollars together, and how sure that is.

A candidate is a model on a row. Those whose accuracy is clearly enough as good as the best's
(within a loss that the user allows) are judged by the strategy; of all candidates those that
another beats in none and equals in no more than two of the three figures form the frontier
(Pareto). How sure the verdict is comes of the bootstrap: pictures (paired over all candidates) and
samples of time are drawn again (turns of measuring first, the same for all), and the share of draws
in which the same candidate wins is told.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from visionstack.accuracy.intervals import RESAMPLES, Estimate
from visionstack.compare import Strategy
from visionstack.compare.record import Record, Status
from visionstack.compare.summary import Figures, figures
from visionstack.cost.prices import PriceBook
from visionstack.report.figures import format_number

LOSS: Final = 0.05
"""Of AP50 or top 1 that may be given up against the best, unless the user says otherwise."""
SURE: Final = 0.95
_MOST_SAMPLES: Final = 2000
_SCOPES: Final = ("picture", "stream", "network")

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A model on a row, with all three figures; `usd_per_million` is None without a price."""

    name: str
    figures: Figures
    metric: str
    accuracy: Estimate
    resampled: Sequence[float] = field(default=(), repr=False)
    """The accuracy in each bootstrap draw, in one order for all candidates; empty if too few."""

    @property
    def p99_s(self) -> float:
        return self.figures.latency.p99

    @property
    def usd_per_million(self) -> float | None:
        return self.figures.usd_per_million


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The winner, the share of bootstrap draws each candidate wins, and who beats whom."""

    strategy: Strategy
    loss: float
    winner: Candidate
    candidates: Sequence[Candidate]
    priced: bool
    """Whether dollars were judged; without a price for every candidate, time alone is."""
    shares: dict[str, float]
    """By name, the largest first; empty where nothing could be drawn."""
    beaten: dict[str, str]
    """By name, a candidate that is no worse in any figure and better in one."""
    why_unsure: str = ""

    @property
    def sure(self) -> bool:
        return self.shares.get(self.winner.name, 0.0) >= SURE

    @property
    def sentence(self) -> str:
        """The answer in one sentence, with how sure it is."""
        best = self.winner
        money = f", ${best.usd_per_million:.3g} a million pictures" if self.priced else ""
        p99 = format_number(best.p99_s * 1000)
        what = f"{best.metric} {_with_interval(best.accuracy)}, p99 {p99} ms{money}"
        if len(self.candidates) == 1:
            return f"{best.name} is the only candidate with all figures: {what}."
        head = f"{best.name}, {self._by}: {what}"
        if not self.shares:
            return f"{head}. How sure this is cannot be said: {self.why_unsure}."
        if self.sure:
            return (
                f"{head}. It wins in {self.shares[best.name]:.0%} of {RESAMPLES} bootstrap draws."
            )
        ranked = ", ".join(f"{name} {share:.0%}" for name, share in list(self.shares.items())[:3])
        return f"No clear winner. Ahead is {head}. Share of {RESAMPLES} bootstrap draws: {ranked}."

    @property
    def _by(self) -> str:
        measure = {
            "cost": "the cheapest",
            "speed": "the fastest",
            "balanced": "the smallest product of cost and time",
        }[self.strategy if self.priced else "speed"]
        return f"{measure} of those within {self.loss:g} {self.winner.metric} of the best"


def candidates(records: Sequence[Record], *, book: PriceBook) -> list[Candidate]:
    """Every measured row whose accuracy is known, at the deepest scope that most share."""
    found = []
    several = len({record.model for record in records}) > 1
    for record in records:
        for row in record.rows:
            shown = figures(record, row, book=book)
            if shown is None or row.status is not Status.MEASURED:
                continue
            known = record.accuracy.get("variants", {}).get(shown.engine, {})
            if "value" not in known.get("figure", {}):
                continue
            figure = known["figure"]
            found.append(
                Candidate(
                    name=f"{record.model} on {row.name}" if several else row.name,
                    figures=shown,
                    metric=record.accuracy["metric"],
                    accuracy=Estimate(
                        value=figure["value"],
                        low=figure.get("low"),
                        high=figure.get("high"),
                        why_none=figure.get("no_interval", ""),
                    ),
                    resampled=known.get("resampled", ()),
                )
            )
    if not found:
        return []
    # A time of the network alone does not beat one of all that a picture takes.
    scope = min((one.figures.scope for one in found), key=_SCOPES.index)
    return [one for one in found if one.figures.scope == scope]


def judge(
    found: Sequence[Candidate], *, strategy: Strategy = "balanced", loss: float = LOSS
) -> Verdict | None:
    """The verdict over candidates of one metric and one set of labels; None without any."""
    if not found:
        return None
    priced = all(one.usd_per_million is not None for one in found)
    worse = beaten(found, priced=priced)
    judged = strategy if priced else "speed"
    # The times that are judged by are other figures than those that tell who is beaten: the star
    # must not stand in a row that says it is. How sure that is, all have a say in.
    standing = [one for one in found if one.name not in worse]
    accuracy = np.asarray([[one.accuracy.value] for one in standing])
    scale, time = _times(standing, None)
    won = _winners(accuracy, _costs(standing) * scale, time, strategy=judged, loss=loss)
    drawn = all(len(one.resampled) == RESAMPLES for one in found)
    shares: dict[str, float] = {}
    if drawn:
        scale, time = _times(found, np.random.default_rng(0))
        wins = _winners(
            np.asarray([one.resampled for one in found]),
            _costs(found) * scale,
            time,
            strategy=judged,
            loss=loss,
        )
        counted = Counter(found[place].name for place in wins.tolist())
        shares = {name: number / RESAMPLES for name, number in counted.most_common()}
    return Verdict(
        strategy=strategy,
        loss=loss,
        winner=standing[int(won[0])],
        candidates=found,
        priced=priced,
        shares=shares,
        beaten=worse,
        why_unsure=""
        if drawn
        else next((one.accuracy.why_none for one in found if one.accuracy.why_none), "no samples"),
    )


def _costs(found: Sequence[Candidate]) -> Floats:
    return np.asarray([[one.usd_per_million or math.nan] for one in found])


def beaten(found: Sequence[Candidate], *, priced: bool) -> dict[str, str]:
    """Who is beaten by whom: no worse in accuracy, p99 and (where priced) dollars, one better."""

    def badness(one: Candidate) -> tuple[float, ...]:
        money = ((one.usd_per_million or 0.0),) if priced else ()
        return (-one.accuracy.value, one.p99_s, *money)

    worse: dict[str, str] = {}
    for one in found:
        for other in found:
            mine, theirs = badness(one), badness(other)
            if mine != theirs and all(t <= m for m, t in zip(mine, theirs, strict=True)):
                worse.setdefault(one.name, other.name)
    return worse


def _winners(
    accuracy: Floats, cost: Floats, time: Floats, *, strategy: Strategy, loss: float
) -> NDArray[np.intp]:
    """The winning candidate of each draw; arrays are (candidates, draws)."""
    score = {"cost": cost, "speed": time, "balanced": cost * time}[strategy]
    allowed = accuracy >= accuracy.max(axis=0) - loss
    return np.asarray(np.where(allowed, score, np.inf).argmin(axis=0))


def _fair(values: Floats) -> Floats:
    """From (candidates, …, turns) what each takes where no turn hit some of them only.

    Each turn is held against the candidates' geometric mean in it, and the middle turn counts: one
    in which the machine became busy between two rows decides nothing.
    """
    logs = np.log(values)
    together = logs.mean(axis=0, keepdims=True)
    return np.asarray(np.exp(np.median(logs - together, axis=-1) + together.mean(axis=-1)))


def _times(
    found: Sequence[Candidate], resample: np.random.Generator | None
) -> tuple[Floats, Floats]:
    """Per candidate and draw: (the mean over the measured mean, the median in seconds).

    With a generator from samples drawn again, turns first and the same for all; without, as
    measured, in one draw. Candidates with as many turns as each other were measured side by side.
    """
    draws = 1 if resample is None else RESAMPLES
    means, medians = np.empty((len(found), draws)), np.empty((len(found), draws))
    beside: dict[int, list[int]] = {}
    for place, one in enumerate(found):
        beside.setdefault(len(one.figures.turns), []).append(place)
    for turns, places in beside.items():
        parts = [_parts(found[place]) for place in places]
        # (candidates, draws, turns)
        each = np.asarray([[_drawn(part, draws, resample) for part in own] for own in parts])
        each = np.moveaxis(each, 2, 0)  # (2, candidates, turns, draws)
        each = np.moveaxis(each, 2, 3)
        if resample is not None and turns > 1:
            picked = resample.integers(0, turns, (draws, turns))
            each = np.take_along_axis(each, np.broadcast_to(picked, each.shape), axis=3)
        measured_ = np.asarray([np.concatenate(own).mean() for own in parts])[:, None]
        means[places] = (_fair(each[0]) if turns > 1 else each[0][..., 0]) / measured_
        medians[places] = _fair(each[1]) if turns > 1 else each[1][..., 0]
    return means, medians


def _parts(one: Candidate) -> list[Floats]:
    """The row's samples by turn."""
    ends = np.cumsum(one.figures.turns or [0])[:-1]
    parts = np.split(np.asarray(one.figures.samples_s), ends)
    return [part[: _MOST_SAMPLES // len(parts)] for part in parts]


def _drawn(samples: Floats, draws: int, resample: np.random.Generator | None) -> Floats:
    """(2, draws): means and medians."""
    again = (
        samples[None]
        if resample is None
        else samples[resample.integers(0, len(samples), (draws, len(samples)))]
    )
    return np.asarray([again.mean(axis=1), np.median(again, axis=1)])


def _with_interval(figure: Estimate) -> str:
    if figure.low is None or figure.high is None:
        return f"{figure.value:.3f}"
    return f"{figure.value:.3f} ({figure.low:.3f} to {figure.high:.3f})"


def to_json(verdict: Verdict | None) -> dict[str, Any] | None:
    """Plain values."""
    if verdict is None:
        return None
    return {
        "sentence": verdict.sentence,
        "strategy": verdict.strategy,
        "accuracy_loss": verdict.loss,
        "winner": verdict.winner.name,
        "sure": verdict.sure,
        "shares": verdict.shares,
        "beaten": verdict.beaten,
        "candidates": [
            {
                "name": one.name,
                "metric": one.metric,
                "accuracy": one.accuracy.to_json(),
                "p99_s": one.p99_s,
                "usd_per_million": one.usd_per_million,
            }
            for one in verdict.candidates
        ],
    }
