"""What `growth` measured, as rows for the terminal and for docs/scale.md.

`known` is what `growth.counted` makes of a run. The simulation is given what a frame's steps took
with one number of cameras on one server and what share of a processor the servers had.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import Any, Final

from visionstack.cost.bill import HOURS_A_MONTH
from visionstack.cost.prices import list_prices
from visionstack.scale.service_quality import Answers, ServiceQuality, service_quality
from visionstack.scale.simulation import Cameras, Machine, Times, simulate

FPS: Final = 1.0
INSTANCE: Final = "c7a.medium"
"""One processor; its speed is not this machine's."""
ENOUGH: Final = 20
"""Answers of a stretch below which its rate says nothing."""
RECORDED: Final = Path(__file__).with_name("growth_recorded.json")
_BEGIN_S: Final = 1.0
"""Left out at the beginning: queues fill."""

Known = dict[str, Any]
Rows = list[dict[str, str]]


def got(answers: Answers, *, end: float) -> ServiceQuality:
    """What cameras got, but for the beginning."""
    return service_quality(answers, fps=FPS, begin=_BEGIN_S, end=end, settle=_BEGIN_S)


def measured(known: Known) -> Rows:
    """By servers and cameras: rates, times and dollars, the least and the most of the rounds."""
    groups: dict[tuple[int, int], list[dict[str, Any]]] = {}
    for one in known["stretches"]:
        groups.setdefault((one["servers"], one["cameras"]), []).append(one)
    rows = []
    for (servers, cameras), found in sorted(groups.items()):
        had = sum(one["servers_cpu_s"] for one in found)
        usd = list_prices()[INSTANCE].usd * HOURS_A_MONTH * servers / cameras
        rows.append(
            {
                "servers": str(servers),
                "cameras": str(cameras),
                "processors had": _range(
                    [one["servers_cpu_s"] / one["seconds"] for one in found], "{:.2f}"
                ),
                "answers/s": _range([one["answers_a_second"] for one in found], "{:.1f}"),
                "a processor second": f"{sum(one['answers'] for one in found) / had:.1f}",
                "answered %": _range([100 * one["answered"] for one in found], "{:.0f}"),
                "p50 ms": _milliseconds(one["p50_s"] for one in found),
                "p99 ms": _milliseconds(one["p99_s"] for one in found),
                "$ a camera and month": f"{usd:.2f}",
            }
        )
    return rows


def linear(known: Known) -> Rows:
    """What full servers answer, those that other servers take no processor from."""
    rows = []
    one = fmean(found["answers_a_second"] for found in beyond(known) if found["servers"] == 1)
    for servers in (1, 2, 4):
        found = [row["answers_a_second"] for row in beyond(known) if row["servers"] == servers]
        each = min(servers, known["machine"]["cores"])
        rows.append(
            {
                "servers": str(servers),
                "answers/s beyond the limit": _range(found, "{:.1f}"),
                "of linear in processors": f"{fmean(found) / one / each:.2f}",
            }
        )
    return rows


def most(known: Known) -> Rows:
    """Between which numbers of cameras the limit lies, and where one full stream puts it."""
    rows = []
    for servers in (1, 2):
        mine = [one for one in known["stretches"] if one["servers"] == servers]
        all_answered = {
            cameras
            for cameras in {one["cameras"] for one in mine}
            if fmean(one["answered"] for one in mine if one["cameras"] == cameras) >= 0.99
        }
        held = max(all_answered, default=0)
        too_many = [one["cameras"] for one in mine if one["cameras"] > held]
        below = max((one for one in all_answered if one < held), default=0)
        p99, p99_below = (
            _milliseconds(one["p99_s"] for one in mine if one["cameras"] == cameras)
            for cameras in (held, below)
        )
        rows.append(
            {
                "servers": str(servers),
                "predicted": f"{servers * known['full']:.1f}",
                "all answered with": str(held),
                "not with": str(min(too_many, default="")),
                "p99 ms below": f"{p99_below} ({below} cameras)",
                "p99 ms at it": p99,
            }
        )
    return rows


def beyond(known: Known) -> list[dict[str, Any]]:
    """Stretches with at least a fifth more cameras than the servers' processors can answer."""
    return [
        one
        for one in known["stretches"]
        if one["answers"] >= ENOUGH
        and one["cameras"] >= 1.2 * known["full"] * min(one["servers"], known["machine"]["cores"])
    ]


def simulated(known: Known, stretch: dict[str, Any]) -> dict[str, float]:
    """The same stretch with simulated servers, of which each has the processor time it had."""
    times, end, servers = known["times"], stretch["seconds"], stretch["servers"]
    outcome = simulate(
        Cameras.evenly(stretch["cameras"], fps=FPS, seconds=end),
        Times(
            decode=times["decode"],
            inference={1: times["inference"]},
            finish=times["finish"],
            around=times["around"],
        ),
        Machine(processors=stretch["servers_cpu_s"] / end / servers),
        servers=servers,
        until=end,
    )
    return asdict(got(outcome.answers, end=end))


def foretold(known: Known) -> Rows:
    """The stretches beyond the limit, and the simulation of each beside it."""
    rows = []
    for one in sorted(beyond(known), key=lambda one: (one["servers"], one["cameras"])):
        told = simulated(known, one)
        rate, told_rate = one["answers"] / one["seconds"], told["answers_a_second"]
        row = {
            "servers": str(one["servers"]),
            "cameras": str(one["cameras"]),
            "of a processor each": f"{one['servers_cpu_s'] / one['seconds'] / one['servers']:.2f}",
            "answers/s": f"{rate:.1f}",
            "simulated": f"{told_rate:.1f} ({told_rate / rate - 1:+.0%})",
        }
        for name in ("p50", "p99"):
            was, is_told = one[f"{name}_s"], told[f"{name}_s"]
            row[f"{name} ms, simulated"] = (
                f"{1000 * was:.0f}, {1000 * is_told:.0f} ({is_told / was - 1:+.0%})"
            )
        row["answers a camera"] = (
            f"{one['least']} to {one['most']}, {told['least']} to {told['most']}"
        )
        rows.append(row)
    return rows


def _milliseconds(seconds: Iterable[float | None]) -> str:
    return _range([1000 * one for one in seconds if one], "{:.0f}")


def _range(values: Sequence[float], form: str) -> str:
    """The least and the most; empty without any."""
    shown = [form.format(value) for value in (min(values), max(values))] if values else [""]
    return shown[0] if shown[0] == shown[-1] else " to ".join(shown)
