"""The four answers to the cold start in one table: measured first call, computed monthly cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from runtime.measurement.statistics import summarize
from visionstack.cost.prices import load
from visionstack.cost.serverless import Function, function_bill

MEMORY_MB: Final = 1769
REQUESTS_A_MONTH: Final = (10_000, 1_000_000)
ENVIRONMENTS: Final = 5
COLD_SHARE: Final = 0.01
"""Of the requests, without an answer; what a month really has depends on its traffic."""


def cold_start_answers(starts: Mapping[str, Any], parts: Mapping[str, Any]) -> dict[str, Any]:
    """Rows of `cold_start` settings from what was measured before; times in seconds.

    `starts` is `cold_start`'s document, `parts` is that of `serverless`.
    """
    lives = starts["lives"]["auto, fp32"]
    warm = summarize([second for life in lives for second in life["handler_s"]]).p50
    first = summarize([life["marks_s"]["first_answer"] for life in lives]).p50
    init = summarize([life["marks_s"]["ready"] for life in lives]).p50
    pool, snapshot = parts.get("warm_pool", {}), parts.get("snapstart", {})
    book = load()
    rows: list[dict[str, Any]] = []
    for setting in ("none", "warmer", "provisioned", "snapstart"):
        function = Function(
            memory_mb=MEMORY_MB,
            seconds=warm,
            init_seconds=init,
            cold_share=COLD_SHARE if setting == "none" else 0.0,
            cold_start=setting,
            environments=_held(setting),
            gateway="rest",
        )
        bills = {
            f"usd_a_month_at_{requests}": function_bill(
                function, requests_per_month=requests, book=book
            ).usd
            for requests in REQUESTS_A_MONTH
        }
        measured = {
            "none": first,
            "warmer": pool["slowest_s"][0] if pool.get("slowest_s") else None,
            "provisioned": None,
            "snapstart": summarize(snapshot["first_s"]).p50 if "first_s" in snapshot else None,
        }
        notes = {
            "none": "interpreter start to first answer, without the emulator's unpacking",
            "warmer": f"slowest of {ENVIRONMENTS} at once after one cycle, through the gateway",
            "provisioned": "not measured: the embedded cloud only records it",
            "snapstart": "through the gateway; AWS's restore of the snapshot is not in it",
        }
        rows.append(
            {
                "cold_start": setting,
                "first_call_s": {"kind": "measured", "value": measured[setting]},
                "note": notes[setting],
                "cost": {"kind": "computed", **bills},
            }
        )
    return {
        "memory_mb": MEMORY_MB,
        "environments": ENVIRONMENTS,
        "warm_call_s": warm,
        "cold_share_without_answer": COLD_SHARE,
        "rows": rows,
        "shown": [
            {
                "cold_start": row["cold_start"],
                "first call (s)": _shown(row["first_call_s"]["value"]),
                **{
                    f"$ at {n:,}/month": row["cost"][f"usd_a_month_at_{n}"]
                    for n in REQUESTS_A_MONTH
                },
            }
            for row in rows
        ],
    }


def _held(setting: str) -> int:
    """The warmer wakes a spare more, which is free for real calls meanwhile."""
    return {"warmer": ENVIRONMENTS + 1, "provisioned": ENVIRONMENTS}.get(setting, 0)


def _shown(seconds: float | None) -> float | str:
    return "not measured" if seconds is None else seconds
