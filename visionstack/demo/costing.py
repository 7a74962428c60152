"""What a million images would cost at the measured speeds, and at the papers' own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from visionstack.cost.bill import usd_per_million
from visionstack.cost.prices import PriceBook, load
from visionstack.cost.recalculated import PAPER_FUNCTION
from visionstack.cost.serverless import Function, request_usd
from visionstack.paper_reference import reference

LIKE_THIS_MACHINE: Final = ("c7a.large", "c7i.large", "c7g.large")
"""Two vCPUs, as this project's reference machine has."""


def costs(record: Mapping[str, Any], *, lambda_memory_mb: int) -> dict[str, Any]:
    """The record's section, from its measured sections."""
    book = load()
    rows = []
    if "streaming" in record:
        seconds = record["streaming"]["split_ms"]["inference"] / 1000
        rows += [_instance_row(name, seconds, book) for name in LIKE_THIS_MACHINE]
    if "classification" in record:
        rows.append(_lambda_row(record["classification"]["warm_ms"] / 1000, lambda_memory_mb, book))
    return {
        "assumption": (
            "If the machine named were exactly as fast as this one, and busy all the time. "
            "It is not: measure with `visionstack compare`."
        ),
        "price_dates": [date.isoformat() for date in book.dates()],
        "rows": rows,
        "paper_rows": list(_paper_rows()),
    }


def _instance_row(name: str, seconds: float, book: PriceBook) -> dict[str, Any]:
    price = book.instance(name)
    return {
        "where": f"{name}, streaming lane",
        "seconds_per_image": seconds,
        "price": f"${price.usd:g} an hour",
        "usd_per_million": usd_per_million(images_per_second=1 / seconds, usd_per_hour=price.usd),
        "how": f"inference time x price an hour of {price.date}",
    }


def _lambda_row(seconds: float, memory_mb: int, book: PriceBook) -> dict[str, Any]:
    function = Function(
        memory_mb=memory_mb,
        seconds=seconds,
        gateway="rest",
        puts_per_request=1,
        gets_per_request=1,
    )
    return {
        "where": f"Lambda of {memory_mb} MB, serverless lane",
        "seconds_per_image": seconds,
        "price": f"${book['lambda.x86_64.gb_second'].usd:.10f} a GB-s",
        "usd_per_million": request_usd(function, book) * 1e6,
        "how": "answer time x memory, request, REST API, S3 PUT and GET; no cold starts",
    }


def _paper_rows() -> list[dict[str, Any]]:
    book = load("2019")
    streaming = reference()["streaming_2019"]
    prices: dict[str, float] = streaming["usd_per_hour_2019"]
    rows = [
        {
            "where": f"{entry['host']} ({entry['accelerator']}), {entry['model']}, 2019 paper",
            "seconds_per_image": entry["seconds"],
            "source": "2019 paper, table 1",
            "price": f"${prices[entry['host']]:g} an hour",
            "usd_per_million": usd_per_million(
                images_per_second=1 / entry["seconds"], usd_per_hour=prices[entry["host"]]
            ),
            "how": "tables 1 and 2 of the 2019 paper",
        }
        for entry in streaming["seconds_per_image"]
        if entry["host"] in prices
    ]
    lambda_row = {
        "where": f"Lambda of {PAPER_FUNCTION.memory_mb} MB, ResNet50, 2020 paper",
        "seconds_per_image": PAPER_FUNCTION.seconds,
        "source": "2020 paper, section 4.1 (assumed there)",
        "price": "$0.00000125 per 100 ms",
        "usd_per_million": request_usd(PAPER_FUNCTION, book) * 1e6,
        "how": "section 4.1's prices; the paper prints 7.25, which charges the fee five times",
    }
    return [*rows, lambda_row]
