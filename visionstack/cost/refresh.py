"""Today's prices from the AWS Price List, as a new dated book beside the snapshot.

Asked are Lambda's duration (both architectures, with their tiers) and requests, and the hours of
the instance types named; what is not asked keeps the snapshot's price and its date.
"""

from __future__ import annotations

import datetime
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from visionstack.cost.errors import CostError
from visionstack.cost.prices import Price, PriceBook
from visionstack.files import replace_file

_LAMBDA_GROUPS: Final = {
    "lambda.x86_64.gb_second": "AWS-Lambda-Duration",
    "lambda.arm64.gb_second": "AWS-Lambda-Duration-ARM",
    "lambda.request": "AWS-Lambda-Requests",
}
_INSTANCE_FILTERS: Final = {
    "operatingSystem": "Linux",
    "tenancy": "Shared",
    "preInstalledSw": "NA",
    "capacitystatus": "Used",
}


def refresh(
    client: Any,
    *,
    old: PriceBook,
    region: str,
    instance_types: Sequence[str],
    today: datetime.date,
) -> PriceBook:
    """A book named after today, with what the Price List answered.

    `client`: boto3's of `pricing`, of which the paginator of `get_products` is used.

    Raises:
        CostError: the Price List cannot be reached, or lacks a price that was asked for.
    """
    source = f"AWS Price List API, {region}"
    prices = dict(old.prices)
    for key, group in _LAMBDA_GROUPS.items():
        found = list(_ask(client, "AWSLambda", {"group": group, "regionCode": region}))
        tiers = _tiers(found, what=key)
        prices[key] = Price(tiers, old.prices[key].unit, source, today)
    ec2 = dict(old.ec2)
    for name in instance_types:
        filters = {"instanceType": name, "regionCode": region, **_INSTANCE_FILTERS}
        hours = _tiers(list(_ask(client, "AmazonEC2", filters)), what=name)
        ec2[name] = Price(hours, "hour", f"{source}, on demand, Linux", today)
    return PriceBook(
        name=today.isoformat(),
        region=region,
        note=f"Duration, requests and {', '.join(instance_types)} asked on {today} for {region}; "
        f"every other price is that of {old.name}, {old.region}.",
        rules=old.rules,
        prices=prices,
        ec2=ec2,
    )


def save(book: PriceBook, folder: Path) -> Path:
    """Write a book as JSON; `prices.load` finds it by its name."""
    path = folder / f"{book.name}.json"
    replace_file(path, json.dumps(to_json(book), indent=1) + "\n")
    return path


def to_json(book: PriceBook) -> dict[str, Any]:
    """A book as `prices.parse` reads it."""
    return {
        "name": book.name,
        "region": book.region,
        "note": book.note,
        "lambda": asdict(book.rules),
        "prices": {key: _price_json(price) for key, price in book.prices.items()},
        "ec2": {key: _price_json(price) for key, price in book.ec2.items()},
    }


def _price_json(price: Price) -> dict[str, Any]:
    tiers = [[None if math.isinf(upto) else upto, usd] for upto, usd in price.tiers]
    return {
        "tiers": tiers,
        "unit": price.unit,
        "source": price.source,
        "date": price.date.isoformat(),
    }


def _ask(client: Any, service: str, filters: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    from botocore.exceptions import BotoCoreError, ClientError

    terms = [
        {"Type": "TERM_MATCH", "Field": field, "Value": value} for field, value in filters.items()
    ]
    try:
        for page in client.get_paginator("get_products").paginate(
            ServiceCode=service, Filters=terms
        ):
            for product in page["PriceList"]:
                yield json.loads(product)
    except (BotoCoreError, ClientError, KeyError, ValueError) as error:
        raise CostError(
            f"The AWS Price List could not be read: {error}",
            remedy="It needs AWS credentials with pricing:GetProducts; or calculate with the "
            "snapshot (--prices today).",
        ) from error


def _tiers(products: Sequence[dict[str, Any]], *, what: str) -> tuple[tuple[float, float], ...]:
    """The on-demand price dimensions of the one product that costs something."""
    for product in products:
        for term in product.get("terms", {}).get("OnDemand", {}).values():
            found = sorted(
                (
                    math.inf if d["endRange"] == "Inf" else float(d["endRange"]),
                    float(d["pricePerUnit"]["USD"]),
                )
                for d in term["priceDimensions"].values()
                if float(d["pricePerUnit"]["USD"]) > 0
            )
            if found and math.isinf(found[-1][0]):
                return tuple(found)
    raise CostError(
        f"The AWS Price List has no price for {what}.",
        remedy="Check the region and the name, or calculate with the snapshot (--prices today).",
    )
