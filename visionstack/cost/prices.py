"""Price books: dated snapshots, each price with its unit, its source and the day it was read."""

from __future__ import annotations

import csv
import datetime
import difflib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final

from visionstack import paths
from visionstack.cost.bill import Item
from visionstack.cost.errors import NoPriceError, PriceBookError

BOOKS: Final = Path(__file__).with_name("books")
REFRESHED: Final = paths.OUT / "prices"
"""Where `visionstack cost --refresh-prices` puts what it was answered."""
_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d")
TODAY: Final = "today"
"""Names the newest of the dated snapshots."""
LIST_DATE: Final = datetime.date(2026, 7, 20)
_LIST: Final = Path(__file__).with_name("ec2_prices.csv")
"""US dollars an hour in us-east-1, on demand, Linux, as of `LIST_DATE`, from Karpenter's generated
prices (https://github.com/aws/karpenter-provider-aws, Apache-2.0)."""


@dataclass(frozen=True)
class Price:
    """Dollars for a unit, in tiers by how much of it a month uses."""

    tiers: tuple[tuple[float, float], ...]
    """(quantity up to which it holds, USD a unit); the last one holds without end."""
    unit: str
    source: str
    date: datetime.date

    @property
    def usd(self) -> float:
        """The first tier's price."""
        return self.tiers[0][1]

    def cost(self, quantity: float) -> float:
        """What `quantity` units used in one month cost."""
        total, below = 0.0, 0.0
        for upto, usd in self.tiers:
            if quantity <= below:
                break
            total += (min(quantity, upto) - below) * usd
            below = upto
        return total


@dataclass(frozen=True)
class LambdaRules:
    """How Lambda rounded and what it billed on a book's date."""

    granularity_ms: int
    init_billed: bool
    usd_per_100ms: Mapping[int, float] = field(default_factory=dict)
    """By memory size in MB; where given it is used instead of the GB-second."""

    def billed_seconds(self, seconds: float) -> float:
        """The duration rounded up as it is billed."""
        # 1e-9 keeps 0.5 s, which is 500.00000000000006 ms in binary, from being billed as 501.
        units = math.ceil(seconds * 1000 / self.granularity_ms - 1e-9)
        return max(units, 0) * self.granularity_ms / 1000


@dataclass(frozen=True)
class PriceBook:
    """The prices of one day in one region."""

    name: str
    region: str
    note: str
    rules: LambdaRules
    prices: Mapping[str, Price]
    ec2: Mapping[str, Price]
    historical: bool = False
    """As its source printed it: what it leaves out is not filled in from elsewhere."""

    def __getitem__(self, key: str) -> Price:
        """A price by its name, such as `lambda.request`.

        Raises:
            NoPriceError: this book does not hold it.
        """
        if key not in self.prices:
            raise NoPriceError(
                f"The price book {self.name} has no price for {key}.",
                remedy="Leave that part out, or calculate with another book (--prices).",
            )
        return self.prices[key]

    def item(self, name: str, quantity: float, unit: str, key: str) -> Item:
        """A bill's line for so many units at the price of that key, in one month.

        Raises:
            NoPriceError: this book does not hold it.
        """
        return Item(name, quantity, unit, self[key].cost(quantity))

    def instance(self, name: str) -> Price:
        """The on-demand price an hour of an EC2 instance type.

        Raises:
            NoPriceError: neither this book nor the list of EC2 prices has one for it.
        """
        if name in self.ec2:
            return self.ec2[name]
        if not self.historical:
            listed = list_prices()
            if name not in listed:
                near = " or ".join(difflib.get_close_matches(name, listed, n=3))
                raise NoPriceError(
                    f"There is no price for the instance type {name!r}"
                    f"{f'; did you mean {near}?' if near else '.'}",
                    remedy="Give one with --usd-per-hour, or fetch it with --refresh-prices.",
                )
            return listed[name]
        raise NoPriceError(
            f"The price book {self.name} has no price for the instance type {name!r}.",
            remedy=f"It has: {', '.join(self.ec2)}. Today's prices: --prices {TODAY}.",
        )

    def dates(self) -> tuple[datetime.date, datetime.date]:
        """The oldest and the newest date among the prices."""
        all_dates = [price.date for price in (*self.prices.values(), *self.ec2.values())]
        return min(all_dates), max(all_dates)


@cache
def list_prices() -> Mapping[str, Price]:
    """The price an hour of every EC2 instance type that the project knows (read once a process)."""
    with _LIST.open(newline="", encoding="utf-8") as file:
        return {
            name: Price(
                ((math.inf, float(usd)),),
                "hour",
                "Karpenter (Apache-2.0), us-east-1 on demand",
                LIST_DATE,
            )
            for name, usd in list(csv.reader(file))[1:]
        }


def load(name: str = TODAY, *, folders: Sequence[Path] = (BOOKS, REFRESHED)) -> PriceBook:
    """A book by name, `2019` or a date; `today` is the newest dated one.

    `folders=[BOOKS]` leaves out those that were refreshed at this desk.

    Raises:
        NoPriceError: there is no such book.
        PriceBookError: it is damaged.
    """
    known = {path.stem: path for folder in folders for path in sorted(folder.glob("*.json"))}
    if name == TODAY:
        dated = sorted(filter(_DATE.fullmatch, known))
        if not dated:
            raise PriceBookError(f"There is no dated price book in {folders[0]}.")
        name = dated[-1]
    if name not in known:
        raise NoPriceError(
            f"There is no price book {name!r}.",
            remedy=f"There are: {TODAY}, {', '.join(sorted(known))}.",
        )
    path = known[name]
    try:
        return parse(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PriceBookError(f"The price book {path} cannot be read: {error!r}.") from error


def parse(value: Mapping[str, Any]) -> PriceBook:
    """A book from its JSON.

    Raises:
        KeyError, TypeError, ValueError: it is not a price book.
    """
    rules = value["lambda"]
    return PriceBook(
        name=str(value["name"]),
        region=str(value["region"]),
        note=str(value["note"]),
        rules=LambdaRules(
            granularity_ms=int(rules["granularity_ms"]),
            init_billed=bool(rules["init_billed"]),
            usd_per_100ms={
                int(memory): float(usd) for memory, usd in rules.get("usd_per_100ms", {}).items()
            },
        ),
        prices={key: _price(price) for key, price in value["prices"].items()},
        ec2={key: _price(price) for key, price in value["ec2"].items()},
        historical=bool(value.get("historical", False)),
    )


def _price(value: Mapping[str, Any]) -> Price:
    tiers = value.get("tiers") or [[None, value["usd"]]]
    parsed = tuple((math.inf if upto is None else float(upto), float(usd)) for upto, usd in tiers)
    if any(usd < 0 for _, usd in parsed) or parsed[-1][0] != math.inf:
        raise ValueError("a price is negative, or its last tier ends")
    return Price(
        tiers=parsed,
        unit=str(value["unit"]),
        source=str(value["source"]),
        date=datetime.date.fromisoformat(value["date"]),
    )
