"""Writes docs/scale.md: `.venv/bin/python scripts/write_scale_page.py`.

From what `python -m benchmarks growth` measured (benchmarks/growth_recorded.json), the simulation,
AWS's limits (`visionstack.scale.limits`) and the newest price book.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any, Final

from benchmarks._growth_tables import INSTANCE, RECORDED, Rows, foretold, linear, measured, most
from benchmarks.growth import P50_BAND, P99_BAND, THROUGHPUT_BAND
from stacks.settings.fields import SettingFields
from visionstack.cost.prices import BOOKS, load
from visionstack.cost.serverless import Function
from visionstack.scale.fleet import Plan
from visionstack.scale.limits import (
    BURST,
    CONSTANT,
    HASHED,
    LAUNCHES_SOURCE,
    SERVERLESS,
    STREAMING,
    Limit,
)
from visionstack.scale.share import Loaded, at_shares, hashed
from visionstack.scale.simulation import Machine, Times

CHECKOUT = Path(__file__).resolve().parent.parent
PAGE = CHECKOUT / "docs" / "scale.md"
CAMERAS: Final = (100, 10_000, 1_000_000)
SMALL: Final = INSTANCE
LARGE: Final = "c7a.8xlarge"
CALL: Final = Function(memory_mb=1769, seconds=0.061, gateway="rest")
"""A warm call of ResNet50, as docs/performance.md has it."""
SHARES: Final = (0.4, 0.5, 0.7, 0.85, 1.0, 1.25)
SERVERS: Final = 16
TEXT: Final = (CHECKOUT / "scripts" / "scale_page.md").read_text("utf-8")


def page() -> str:
    """The page as it should be."""
    known = json.loads(RECORDED.read_text("utf-8"))
    target = float(SettingFields.model_fields["scale_target"].default)
    times = _times(known)
    rate = _rate(known, servers=1)
    plans = {
        kind: [_plan(known, cameras, kind, rate=rate, target=target) for cameras in CAMERAS]
        for kind in (SMALL, LARGE)
    }
    values = {
        "book": load(folders=[BOOKS]).name,
        "rounds": str(_rounds(known)),
        "seconds": f"{known['stretches'][0]['seconds']:.0f}",
        "cpu": known["machine"]["cpu"],
        "frame_kb": f"{known['frame_bytes'] / 1000:.0f}",
        "rate": f"{rate:.1f}",
        "target": f"{target:g}",
        "small": SMALL,
        "large": LARGE,
        "cameras_small": str(plans[SMALL][0].cameras_an_instance),
        "cameras_large": str(plans[LARGE][0].cameras_an_instance),
        "measured": _written(measured(known)),
        "linear": _written(linear(known)),
        "simulated": _written(foretold(known)),
        "steps": _steps(times),
        "way_share": _way_share(plans[LARGE][-1]),
        "throughput_band": f"{THROUGHPUT_BAND:.0%}",
        "p50_band": f"{P50_BAND:.0%}",
        "p99_band": f"{P99_BAND:.0%}",
        "share": f"{_rate(known, servers=2) / rate:.2f}",
        "most": _written(most(known)),
        "at": str(_calibrated(known)),
        "shares": _shares(times, rate=rate),
        "hashed": _hashed(times, rate=rate, target=target),
        "costs": _costs(plans),
        "breaks": _breaks(plans),
        "serverless": _serverless(plans[SMALL]),
        "sources": _sources(),
        "hash_source": HASHED,
        "burst_source": BURST,
        "launch_source": LAUNCHES_SOURCE,
        "constant": CONSTANT,
        "minutes_small": f"{plans[SMALL][-1].minutes_to_launch / 60:.0f}",
        "minutes_large": f"{plans[LARGE][-1].minutes_to_launch:.0f}",
        "minutes_warm": f"{plans[SMALL][-1].minutes_to_warm:.0f}",
    }
    text = TEXT
    for name, value in values.items():
        text = text.replace("{{" + name + "}}", value)
    if "{{" in text:
        raise ValueError(f"scale_page.md names what is not known: {text[text.index('{{') :][:40]}")
    return text


def _times(known: dict[str, Any]) -> Times:
    measured = known["times"]
    return Times(
        decode=measured["decode"],
        inference={1: measured["inference"]},
        side_by_side=measured["inference"],
        finish=measured["finish"],
        around=measured["around"],
    )


def _plan(known: dict[str, Any], cameras: int, kind: str, *, rate: float, target: float) -> Plan:
    return Plan(
        cameras=cameras,
        fps=known["fps"],
        frame_bytes=known["frame_bytes"],
        instance_type=kind,
        answers_a_second_and_vcpu=rate,
        utilisation=target,
        call=CALL,
    )


def _rate(known: dict[str, Any], *, servers: int) -> float:
    """Answers for each second of the servers' processor time, all stretches together."""
    mine = [one for one in known["stretches"] if one["servers"] == servers]
    return sum(one["answers"] for one in mine) / sum(one["servers_cpu_s"] for one in mine)


def _rounds(known: dict[str, Any]) -> int:
    alone = [one for one in known["stretches"] if (one["servers"], one["cameras"]) == (1, 1)]
    return len(alone)


def _calibrated(known: dict[str, Any]) -> int:
    """With how many cameras the steps were measured."""
    alone = [one["cameras"] for one in known["stretches"] if one["servers"] == 1]
    return max(one for one in alone if one <= 0.8 * known["full"])


def _steps(times: Times) -> str:
    steps = {
        "decoding": times.decode,
        "the network": times.inference[1],
        "boxes": times.finish,
        "around them": times.around,
    }
    return ", ".join(f"{name} {1000 * median(one):.1f}" for name, one in steps.items())


def _loaded(one: Loaded) -> list[str]:
    return [
        f"{1000 * one.p50_s:.0f}",
        f"{1000 * one.p99_s:.0f}",
        f"{100 * one.answered:.0f} %",
        f"{100 * one.worst_answered:.0f} %",
    ]


def _shares(times: Times, *, rate: float) -> str:
    found = at_shares(times, Machine(), SHARES, rate=rate, fps=1.0, draws=9)
    different = {one.cameras: one for one in found}.values()
    rows = [[f"{one.share:.2f}", str(one.cameras), *_loaded(one)] for one in different]
    head = ["share of its rate", "cameras", "p50 ms", "p99 ms", "answered", "worst camera"]
    return _table(head, rows)


def _hashed(times: Times, *, rate: float, target: float) -> str:
    rows = []
    cameras = round(target * rate * SERVERS)
    for processors in (1, 8):
        machine = Machine(processors=processors, threads=processors + 2, streams=processors)
        for by_hash in (False, True):
            one = hashed(
                times,
                machine,
                servers=SERVERS // processors,
                cameras=cameras,
                rate=rate * processors,
                fps=1.0,
                by_hash=by_hash,
                draws=3,
            )
            way = "by hash" if by_hash else "in turns"
            rows.append(
                [f"{SERVERS // processors} of {processors}", way, str(cameras), *_loaded(one)]
            )
    head = ["servers of processors", "connections", "cameras", "p50 ms", "p99 ms", "answered"]
    return _table([*head, "worst camera"], rows)


def _costs(plans: dict[str, list[Plan]]) -> str:
    book = load(folders=[BOOKS])
    rows = []
    for kind, of_kind in plans.items():
        for plan in of_kind:
            bill = plan.streaming_bill(book)
            rows.append(
                [
                    f"{plan.cameras:,}",
                    kind,
                    f"{plan.instances:,}",
                    f"{plan.balancers:,}",
                    _dollars(bill.item(f"{kind} hours")),
                    _dollars(bill.item("load balancer capacity")),
                    _dollars(bill.usd),
                    f"{bill.usd / plan.cameras:.2f}",
                ]
            )
    for plan in plans[SMALL]:
        bill = plan.serverless_bill(book)
        rows.append(
            [
                f"{plan.cameras:,}",
                "a call a frame",
                "",
                "",
                _dollars(bill.item("duration")),
                _dollars(bill.item("API Gateway")),
                _dollars(bill.usd),
                f"{bill.usd / plan.cameras:.2f}",
            ]
        )
    head = ["cameras", "on", "instances", "balancers", "$ computing", "$ on the way", "$ a month"]
    return _table([*head, "$ a camera"], rows)


def _way_share(plan: Plan) -> str:
    bill = plan.streaming_bill(load(folders=[BOOKS]))
    return f"{bill.item('load balancer capacity') / bill.usd:.0%}"


def _breaks(plans: dict[str, list[Plan]]) -> str:
    rows = []
    for limit in STREAMING:
        shares = [limit.used(plan.demand) for kind in plans.values() for plan in kind]
        rows.append([limit.name, f"{limit.most:,.0f} {limit.unit}", *map(_used, shares)])
    numbers = [f"{cameras:,} on {kind}" for kind in plans for cameras in CAMERAS]
    return _table(["limit", "how many", *numbers], rows)


def _serverless(plans: Sequence[Plan]) -> str:
    rows = [
        [
            limit.name,
            f"{limit.most:,.0f} {limit.unit}",
            *(_used(limit.used(plan.demand)) for plan in plans),
        ]
        for limit in SERVERLESS
    ]
    return _table(["limit", "how many", *(f"{cameras:,}" for cameras in CAMERAS)], rows)


def _sources() -> str:
    limits: list[Limit] = [*STREAMING, *SERVERLESS]
    rows = [[one.name, one.raised, one.source, one.change] for one in limits]
    return _table(["limit", "can be raised", "document", "what to do"], rows)


def _used(share: float) -> str:
    """How many times the limit; what breaks it in bold."""
    shown = f"{share:,.0f}" if share >= 10 else f"{share:.2g}"
    return f"**{shown}**" if share > 1 else shown


def _dollars(usd: float) -> str:
    return f"{usd:,.0f}"


def _written(rows: Rows) -> str:
    return _table(list(rows[0]), [list(row.values()) for row in rows])


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = (head, ["---"] * len(head), *rows)
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
