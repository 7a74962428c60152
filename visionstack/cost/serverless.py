"""Lambda's side of the model: duration, requests, INIT, storage, and what a warm start costs.

Formulae: the AWS Lambda pricing page (its worked examples are this module's tests) and, for INIT,
"AWS Lambda standardizes billing for INIT Phase", AWS Compute Blog, 2025-04-29.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from runtime.contract import Arch, ColdStart
from visionstack.cost import Gateway
from visionstack.cost.bill import DAYS_A_MONTH, Bill, Item
from visionstack.cost.errors import CostInputError, NoPriceError
from visionstack.cost.prices import PriceBook

_FREE_REQUESTS: Final = 1_000_000
_FREE_GB_SECONDS: Final = 400_000
_INCLUDED_STORAGE_MB: Final = 512
WARMER_MEMORY_MB: Final = 512
"""Of the function that sends the wake-ups, as the warmer stack deploys it."""


@dataclass(frozen=True, kw_only=True)
class Function:
    """A Lambda function and how it is kept from starting cold; times in seconds."""

    memory_mb: int
    seconds: float
    """Duration of a warm call, as measured; it is rounded up as AWS rounds it."""
    arch: Arch = "x86_64"
    init_seconds: float = 0.0
    """The INIT phase of a cold start."""
    cold_share: float = 0.0
    """Share of requests (0 to 1) that meet a new environment."""
    storage_mb: int = 512
    cold_start: ColdStart = "none"
    environments: int = 0
    """Environments held warm: the warmer's target and spare, or the provisioned concurrency."""
    warm_interval_minutes: float = 5.0
    wakeup_seconds: float = 0.4
    """How long a wake-up holds its environment (`sleep_time`)."""
    provisioned_hours_a_day: float = 24.0
    provisioned_share: float | None = None
    """Share of requests that provisioned environments serve; None: by the hours of the day."""
    gateway: Gateway = "none"
    puts_per_request: float = 0.0
    gets_per_request: float = 0.0
    """S3 requests a picture makes: one PUT by the upload, one GET by the function."""

    def __post_init__(self) -> None:
        if not 128 <= self.memory_mb <= 10_240:
            raise CostInputError(
                f"Lambda has no memory size of {self.memory_mb} MB.",
                remedy="Choose between 128 and 10,240 MB.",
            )
        if not 512 <= self.storage_mb <= 10_240:
            raise CostInputError(
                f"Lambda has no /tmp of {self.storage_mb} MB.",
                remedy="Choose between 512 and 10,240 MB.",
            )
        if min(self.seconds, self.init_seconds, self.wakeup_seconds, self.environments) < 0:
            raise CostInputError("A time or a number of environments is negative.")
        if not 0 <= self.cold_share <= 1:
            raise CostInputError(f"The cold share {self.cold_share} is not between 0 and 1.")
        if self.cold_start == "snapstart" and self.storage_mb > _INCLUDED_STORAGE_MB:
            raise CostInputError(
                f"SnapStart does not go with a /tmp of {self.storage_mb} MB.",
                remedy="Use 512 MB, or another cold_start.",
            )
        if self.warm_interval_minutes <= 0:
            raise CostInputError("The warm interval must be more than 0 minutes.")

    @property
    def gb(self) -> float:
        """Memory in the GB of AWS's bills, which are of 1024 MB."""
        return self.memory_mb / 1024


def request_usd(function: Function, book: PriceBook) -> float:
    """What one warm request of the first tier costs: duration, request fee, gateway and S3."""
    one = function_bill(function, requests_per_month=1.0, book=book)
    standing = function_bill(function, requests_per_month=0.0, book=book)
    return one.usd - standing.usd


def function_bill(
    function: Function,
    *,
    requests_per_month: float,
    book: PriceBook,
    days: float = DAYS_A_MONTH,
    free_tier: bool = False,
) -> Bill:
    """The month's bill of one function.

    The free tier (1 million requests and 400,000 GB-s a month) is left out unless asked for: it
    is the account's, not the function's.

    Raises:
        CostInputError: the number of requests is negative.
        NoPriceError: the book lacks a price this function needs.
    """
    if requests_per_month < 0:
        raise CostInputError(f"{requests_per_month} requests a month are fewer than none.")
    provisioned = _provisioned_requests(function, requests_per_month)
    on_demand = requests_per_month - provisioned
    charged = max(0.0, requests_per_month - (_FREE_REQUESTS if free_tier else 0))
    ran = book.rules.billed_seconds(function.seconds) * on_demand
    items = [
        book.item("requests", charged, "requests", "lambda.request"),
        _compute("duration", function, ran, book, free=_FREE_GB_SECONDS if free_tier else 0),
        *_init(function, on_demand, book),
        *_storage(function, requests_per_month, book),
    ]
    if function.cold_start == "provisioned":
        items += _provisioned(function, provisioned, book, days)
    if function.cold_start == "snapstart":
        items += _snapstart(function, requests_per_month, book, days)
    if function.cold_start == "warmer":
        items += _warmer(function, book, days)
    for name, key, share in (
        ("API Gateway", f"gateway.{function.gateway}", function.gateway != "none"),
        ("S3 PUT", "s3.put", function.puts_per_request),
        ("S3 GET", "s3.get", function.gets_per_request),
    ):
        if share:
            items.append(book.item(name, requests_per_month * share, "requests", key))
    return Bill.of(items, days=days)


def _compute(
    name: str, function: Function, seconds: float, book: PriceBook, *, free: float = 0
) -> Item:
    """Seconds of this function's memory, at the book's GB-second or its price table of 100 ms."""
    if book.rules.usd_per_100ms:
        usd = book.rules.usd_per_100ms.get(function.memory_mb)
        if usd is None:
            sizes = ", ".join(str(size) for size in sorted(book.rules.usd_per_100ms))
            raise NoPriceError(
                f"The price book {book.name} has no price for {function.memory_mb} MB.",
                remedy=f"It has these sizes: {sizes} MB.",
            )
        return Item(name, seconds * function.gb, "GB-s", seconds * 10 * usd)
    quantity = max(0.0, seconds * function.gb - free)
    return book.item(name, quantity, "GB-s", f"lambda.{function.arch}.gb_second")


def _init(function: Function, requests: float, book: PriceBook) -> list[Item]:
    # With SnapStart the snapshot is restored instead; its own price stands in `_snapstart`.
    if not book.rules.init_billed or function.cold_start == "snapstart":
        return []
    seconds = book.rules.billed_seconds(function.init_seconds) * requests * function.cold_share
    return [_compute("INIT", function, seconds, book)] if seconds else []


def _storage(function: Function, requests: float, book: PriceBook) -> list[Item]:
    extra = (function.storage_mb - _INCLUDED_STORAGE_MB) / 1024
    if not extra:
        return []
    quantity = book.rules.billed_seconds(function.seconds) * requests * extra
    return [book.item("ephemeral storage", quantity, "GB-s", "lambda.storage_gb_second")]


def _provisioned_requests(function: Function, requests: float) -> float:
    if function.cold_start != "provisioned":
        return 0.0
    share = function.provisioned_share
    return requests * (function.provisioned_hours_a_day / 24 if share is None else share)


def _provisioned(function: Function, requests: float, book: PriceBook, days: float) -> list[Item]:
    hours = function.provisioned_hours_a_day * days
    held = function.environments * function.gb * hours * 3600
    ran = book.rules.billed_seconds(function.seconds) * requests * function.gb
    prices = f"lambda.{function.arch}.provisioned"
    return [
        book.item("provisioned concurrency", held, "GB-s", f"{prices}_gb_second"),
        book.item("provisioned duration", ran, "GB-s", f"{prices}_duration_gb_second"),
    ]


def _snapstart(function: Function, requests: float, book: PriceBook, days: float) -> list[Item]:
    # The snapshot of one published version stays cached.
    cached = function.gb * days * 86_400
    restored = requests * function.cold_share * function.gb
    return [
        book.item("SnapStart cache", cached, "GB-s", "lambda.snapstart_cache_gb_second"),
        book.item("SnapStart restore", restored, "GB", "lambda.snapstart_restore_gb"),
    ]


def _warmer(function: Function, book: PriceBook, days: float) -> list[Item]:
    """N overlapping wake-ups each interval, and the warmer that waits for them."""
    rounds = days * 24 * 60 / function.warm_interval_minutes
    pings = rounds * function.environments
    held = book.rules.billed_seconds(function.wakeup_seconds)
    items = [
        book.item("wake-up requests", pings, "requests", "lambda.request"),
        _compute("wake-up duration", function, pings * held, book),
    ]
    if not book.rules.usd_per_100ms:  # the papers' warmer ran on a server they had anyway
        own = rounds * held * WARMER_MEMORY_MB / 1024
        usd = book["lambda.request"].cost(rounds)
        usd += book[f"lambda.{function.arch}.gb_second"].cost(own)
        items.append(Item("warmer", rounds, "rounds", usd))
    return items
