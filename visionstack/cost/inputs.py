"""What the command line was given, as a question to the cost model."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Final, Protocol, TypeVar, get_args

from runtime.contract import DEFAULT_INSTANCE_TYPE, MEMORY_MB_PER_VCPU, Arch, ColdStart
from visionstack.cost import Gateway
from visionstack.cost.errors import CostInputError
from visionstack.cost.instances import PROFILES, Fleet
from visionstack.cost.prices import REFRESHED, PriceBook, load
from visionstack.cost.refresh import refresh, save
from visionstack.cost.report import Question
from visionstack.cost.serverless import Function

T = TypeVar("T")

_PAPER_SECONDS: Final = 0.5
_PAPER_MEMORY: Final = 768
_PAPER_SERVER: Final = "paper-server"
_ARCHES: Final[dict[str, Arch]] = {one: one for one in get_args(Arch)}
_COLD_STARTS: Final[dict[str, ColdStart]] = {one: one for one in get_args(ColdStart)}
_GATEWAYS: Final[dict[str, Gateway]] = {one: one for one in get_args(Gateway)}


class Measured(Protocol):
    """Times that were measured. Methods raise CostInputError for what was not."""

    @property
    def origin(self) -> str:
        """Where they are from, as the report says it."""
        ...

    def rate(self, instance_type: str, *, book: PriceBook) -> float:
        """Images a second of an instance type."""
        ...

    def function(
        self, memory_mb: int, *, arch: str, cold_start: str, book: PriceBook
    ) -> tuple[float, float]:
        """Seconds inside the function, and INIT seconds."""
        ...


def question(
    *,
    book_name: str,
    seconds: float | None,
    images_per_second: float | None,
    measured: Measured | None = None,
    memory: int | None = None,
    arch: str = "x86_64",
    init_seconds: float = 0.0,
    cold_share: float = 0.0,
    cold_start: str = "none",
    environments: int = 0,
    gateway: str | None = None,
    instance_type: str | None = None,
    usd_per_hour: float | None = None,
    burst: int = 0,
    profile: str = "flat",
    hours_a_day: float = 24.0,
    utilisation: float = 0.7,
) -> Question:
    """Check the values and put them together; with the papers' prices, the papers' case.

    Raises:
        CostInputError: a value cannot be, or a time is neither given nor measured.
        PriceBookError: there is no such price book.
    """
    book = load(book_name)
    papers = book.historical
    memory = memory or (_PAPER_MEMORY if papers else MEMORY_MB_PER_VCPU)
    instance_type = instance_type or (_PAPER_SERVER if papers else DEFAULT_INSTANCE_TYPE)
    origin = "given on the command line"
    if measured is not None:
        if seconds is None:
            seconds, init = measured.function(memory, arch=arch, cold_start=cold_start, book=book)
            init_seconds = init_seconds or init
        if images_per_second is None:
            images_per_second = measured.rate(instance_type, book=book)
        origin = measured.origin
    elif papers:
        origin = "as the paper assumes them" if seconds is None else origin
        seconds = _PAPER_SECONDS if seconds is None else seconds
        # The paper draws its server as one flat line: a rate that one instance always meets.
        images_per_second = images_per_second or 1e6
    if seconds is None or images_per_second is None:
        raise CostInputError(
            "How long does a request take?",
            remedy="Give --seconds and --images-per-second, or --measured with a comparison's "
            "folder. After `make demo` or `visionstack compare run` neither is needed.",
        )
    function = Function(
        memory_mb=memory,
        seconds=seconds,
        arch=_one_of(_ARCHES, arch, "architecture"),
        init_seconds=init_seconds,
        cold_share=cold_share,
        cold_start=_one_of(_COLD_STARTS, cold_start, "cold start"),
        environments=environments,
        gateway=_one_of(_GATEWAYS, gateway or ("none" if papers else "rest"), "gateway"),
        puts_per_request=0 if papers else 1,
    )
    fleet = Fleet(
        instance_type=instance_type,
        images_per_second=images_per_second,
        usd_per_hour=usd_per_hour,
        hours_a_day=hours_a_day,
        utilisation=utilisation,
        burst=burst,
        load_balancer=not papers,
        disk_gb=0 if papers else None,
        public_addresses=0 if papers else 1,
        profile=_one_of(PROFILES, profile, "profile"),
    )
    return Question(function, fleet, book, profile_name=profile, origin=origin)


def refreshed(region: str, instance_types: Sequence[str]) -> str:
    """Ask the AWS Price List, save the answer as a book, and return its name.

    Raises:
        CostError: it cannot be reached, or lacks a price.
    """
    import boto3

    # The Price List answers in few regions; us-east-1 is one, whatever region is asked about.
    client = boto3.client("pricing", region_name="us-east-1")
    book = refresh(
        client,
        old=load(),
        region=region,
        instance_types=instance_types,
        today=datetime.datetime.now(datetime.UTC).date(),
    )
    save(book, REFRESHED)
    return book.name


def _one_of(known: Mapping[str, T], name: str, what: str) -> T:
    if name not in known:
        raise CostInputError(
            f"There is no {what} {name!r}.", remedy=f"Choose one of: {', '.join(known)}."
        )
    return known[name]
