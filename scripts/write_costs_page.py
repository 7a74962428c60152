"""Writes docs/costs.md and README's figures: `.venv/bin/python scripts/write_costs_page.py`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from runtime.contract import ClassifierMetric
from visionstack.cost.bill import HOURS_A_MONTH
from visionstack.cost.prices import BOOKS, PriceBook, load
from visionstack.cost.report import decimal
from visionstack.cost.standing import USE, Standing

CHECKOUT = Path(__file__).resolve().parent.parent
PAGE = CHECKOUT / "docs" / "costs.md"
README = CHECKOUT / "README.md"
README_CELL: Final = re.compile(r"(?<=\| deploy \| )(`[^`]*`) \| [^\n]* \|(?=\n)")

DEPLOYMENTS: Final = {
    "c7i.xlarge (no GPU, the default)": Standing(instance_type="c7i.xlarge", gpu=False),
    "g4dn.xlarge (T4 GPU)": Standing(instance_type="g4dn.xlarge", gpu=True),
}
HEAD = """# What it costs

On AWS, us-east-1, without the account's free tier. `visionstack cost` computes the same for your
load. This page is written by `scripts/write_costs_page.py` from the price book `{book}`.

## While nobody uses it

Both lanes with the default settings and one instance, a month of 730 hours. A second instance,
which the group starts under load or while an update replaces the first, adds its hours, disk,
address and seven metrics.

"""
USED = """
## What use adds

| of what | USD |
| --- | --- |
"""
LEFT = """
Lambda's price a call, data sent to the internet, alarms' e-mails, `waf`, `xray` and `flow_logs`
come on top; frames sent to AWS are free, and boxes are small. A comparison says before it starts
the most that it can cost. The classifier publishes {classifier} further metrics in each hour in
which it is called.

## What stays after `cdk destroy`

- CDK's bootstrap stack `CDKToolkit` with its bucket, where every package that was ever deployed
  lies (hundreds of MB each; {s3} USD a GB-month). Empty the bucket and delete the stack if you
  deploy nothing else with CDK there.
- The buckets, where `retain_data=true` was deployed: {s3} USD a GB-month for what is in them.
- The role with which API Gateway writes logs, and its log group `/aws/apigateway/welcome`, both one
  for the whole account. The service-linked roles of Auto Scaling and Elastic Load Balancing. They
  cost nothing.

## Where the prices are from

| price | USD | date | source |
| --- | --- | --- | --- |
"""


def page() -> str:
    """The page as it should be."""
    book = load(folders=[BOOKS])
    shown = HEAD.format(book=book.name) + _bills(book) + USED
    for key, what in USE.items():
        shown += f"| {what} | {decimal(book[key].usd)} per {book[key].unit} |\n"
    shown += LEFT.format(s3=decimal(book["s3.gb_month"].usd), classifier=_classifier_metrics())
    for key, price in sorted(book.prices.items()):
        shown += (
            f"| `{key}` | {decimal(price.usd)} per {price.unit} | {price.date} | {price.source} |\n"
        )
    for deployment in DEPLOYMENTS.values():
        price = book.instance(deployment.instance_type)
        shown += (
            f"| `{deployment.instance_type}` | {decimal(price.usd)} per hour | {price.date}"
            f" | {price.source} |\n"
        )
    return shown


def readme() -> str:
    """README as it should be."""
    book = load(folders=[BOOKS])
    each = ", ".join(
        f"{name} ${deployment.usd_per_hour(book):.2f} an hour"
        for name, deployment in DEPLOYMENTS.items()
    )
    cell = (
        f"{each}: instance, disk, three public addresses, load balancer, secret, monitoring and"
        " warm functions ([item by item](docs/costs.md))"
    )
    text = README.read_text(encoding="utf-8")
    replaced, count = README_CELL.subn(lambda found: f"{found[1]} | {cell} |", text)
    if count != 1:
        raise ValueError(f"README.md has {count} rows of a table that begin with deploy, not one")
    return replaced


def _bills(book: PriceBook) -> str:
    bills = [deployment.bill(book) for deployment in DEPLOYMENTS.values()]
    rows = [
        [_general(items[0].name), *(f"{item.usd:,.2f}" for item in items)]
        for items in zip(*(bill.items for bill in bills), strict=True)
    ]
    rows.append(["**together**", *(f"**{bill.usd:,.2f}**" for bill in bills)])
    rows.append(["an hour", *(f"{bill.usd / HOURS_A_MONTH:.3f}" for bill in bills)])
    head = ["USD a month", *DEPLOYMENTS]
    return "".join("| " + " | ".join(row) + " |\n" for row in (head, ["---"] * len(head), *rows))


def _general(name: str) -> str:
    return "instance" if name.endswith(" hours") and "." in name else name


def _classifier_metrics() -> int:
    names = {key for key in vars(ClassifierMetric) if key.isupper()}
    return len(names - {"NAMESPACE", "FUNCTION_DIMENSION"})


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    README.write_text(readme(), encoding="utf-8")
