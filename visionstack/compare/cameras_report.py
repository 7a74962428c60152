"""The report of `visionstack compare cameras`: found, predicted, and why the two differ."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Final

from runtime.measurement import machine
from visionstack.compare.cameras import Counted, Trial, Wanted
from visionstack.cost.bill import HOURS_A_MONTH
from visionstack.report.figures import Absent, Cell, computed, measured
from visionstack.report.sections import Note, Report, Row, Table

NEAR: Final = 0.10
"""A number found this far from the one predicted is called as predicted."""


def usd_a_month(one: Counted) -> float | None:
    """For each camera; None without a price or a camera."""
    if one.usd_per_hour is None or not one.search.most:
        return None
    return one.usd_per_hour * HOURS_A_MONTH / one.search.most


def why_off(one: Counted, wanted: Wanted) -> str:
    """What the found number's distance from the predicted one is made of, from the trials."""
    if one.predicted and abs(one.off) <= NEAR:
        return f"within {NEAR:.0%} of the prediction"
    least = 1 / max(one.predicted, 1)
    step = (
        f"; one camera more or less is {least:.0%} here" if one.predicted and least > NEAR else ""
    )
    failed = {trial.cameras: trial for trial in one.search.trials}.get(one.search.too_many or 0)
    if failed is None:
        return f"the search ended by its time with no number that was too many{step}"
    reason = f"with {failed.cameras}, {failed.shortcoming(wanted)}"
    if failed.in_time >= 0.99:
        return f"{reason}: accuracy bounds the number, and the prediction is of the rate{step}"
    share = failed.rate / one.single.full if one.single.full else math.nan
    return (
        f"{reason}; the server then answered {failed.rate:.1f} frames/s, {share:.0%} of what it "
        f"gave one full stream before{step}"
    )


def sentence(found: Sequence[Counted], wanted: Wanted) -> str:
    """The cheapest (or, without prices, the model with the most cameras)."""
    able = [one for one in found if one.search.most and one.trained]
    asked = (
        f"{wanted.fps:g} frames/s within {wanted.within_s * 1000:g} ms and streaming AP50 of at "
        f"least {wanted.accuracy:g}"
    )
    if not able:
        return f"No model serves one camera at {asked} here."
    best = max(able, key=lambda one: one.search.most)
    price = usd_a_month(best)
    money = f", ${price:.2f} a camera and month" if price is not None else ""
    at_least = "" if best.search.in_time else "at least "
    number = f"{at_least}{best.search.most} camera{'s' if best.search.most > 1 else ''}"
    return f"{best.model} serves {number} at {asked} on this machine{money}."


def report(found: Sequence[Counted], wanted: Wanted, *, clip: str) -> Report:
    """A row a model, and a row a trial."""
    rows, trials = [], []
    best = max((one for one in found if one.search.most), key=lambda o: o.search.most, default=None)
    for one in found:
        price = usd_a_month(one)
        cells: list[Cell] = [
            f"{one.model}{'' if one.trained else ' (random weights)'}",
            one.engine,
            measured(one.search.most) if one.search.trials else Absent("no time for a trial"),
            computed(one.predicted, source="frames a second of one full stream over the rate"),
            Absent("no price") if price is None else computed(price, "USD", source="price of an h"),
            why_off(one, wanted) + ("" if one.search.in_time else "; the search ended by its time"),
        ]
        rows.append(Row(cells, winner=one is best))
        trials += [_trial(one, trial, wanted) for trial in one.search.trials]
    return Report(
        title="Cameras on this machine",
        subtitle=f"{wanted.fps:g} frames/s each, 99 % within {wanted.within_s * 1000:g} ms, "
        f"streaming AP50 of at least {wanted.accuracy:g}; every camera plays {clip}",
        machine=machine.describe().line,
        versions=machine.versions(),
        sections=[
            Note(sentence(found, wanted), title="How many cameras?"),
            Table(
                "Cameras per dollar",
                ["model", "engine", "cameras", "predicted", "$ a camera and month", "difference"],
                rows,
                note="Predicted: what one stream alone gets when it keeps several frames under "
                "way, over the frames a second. The cameras and the server share this machine's "
                "processors; frames are encoded beforehand. Random weights have no accuracy.",
                narrow=(0, 2, 3, 4),
            ),
            Table(
                "Trials",
                ["model", "cameras", "in time", "p99 of answers", "frames/s", "streaming AP50", ""],
                trials,
                narrow=(0, 1, 2, 5),
            ),
        ],
    )


def _trial(one: Counted, trial: Trial, wanted: Wanted) -> Row:
    return Row(
        [
            one.model,
            str(trial.cameras),
            measured(100 * trial.in_time, "%"),
            measured(1000 * trial.p99_s, "ms") if trial.p99_s >= 0 else Absent("no answer"),
            measured(trial.rate),
            measured(trial.accuracy),
            trial.shortcoming(wanted) or "as wanted",
        ]
    )


def to_json(found: Sequence[Counted], wanted: Wanted) -> dict[str, Any]:
    """Plain values; NaN is null."""

    def plain(trial: Trial) -> dict[str, Any]:
        values = asdict(trial)
        return {
            key: None if isinstance(value, float) and math.isnan(value) else value
            for key, value in values.items()
        } | {"shortcoming": trial.shortcoming(wanted)}

    return {
        "sentence": sentence(found, wanted),
        "wanted": asdict(wanted),
        "models": [
            {
                **{key: value for key, value in asdict(one).items() if key != "search"},
                "cameras": one.search.most,
                "too_many": one.search.too_many,
                "search_ended_by_itself": one.search.in_time,
                "off": one.off if math.isfinite(one.off) else None,
                "why": why_off(one, wanted),
                "usd_a_camera_and_month": usd_a_month(one),
                "trials": [plain(trial) for trial in one.search.trials],
            }
            for one in found
        ],
    }
