"""`visionstack cost`: one function against one fleet over requests a day, as a report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from stacks.catalog import Catalog
from visionstack.cost.bill import DAYS_A_MONTH, Bill
from visionstack.cost.breakeven import Crossing, crossings
from visionstack.cost.instances import Fleet, fleet_bill, instances_needed, steps
from visionstack.cost.mix import Mix, cheapest_mix
from visionstack.cost.prices import PriceBook
from visionstack.cost.recalculated import discrepancies
from visionstack.cost.serverless import Function, function_bill
from visionstack.report.figures import Cell, Figure, computed, format_number, paper
from visionstack.report.sections import (
    Headline,
    Headlines,
    Line,
    Lines,
    Note,
    Point,
    Report,
    Row,
    Section,
    Table,
)

LADDER: Final = (100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000)
_UP_TO: Final = 200_000_000
_CROSSINGS_SHOWN: Final = 12


@dataclass(frozen=True)
class Question:
    """What is compared: a function, a fleet, how requests spread over the day, and the prices."""

    function: Function
    fleet: Fleet
    book: PriceBook
    profile_name: str = "flat"
    origin: str = "given on the command line"
    """Where the times come from."""

    def function_usd(self, requests_per_day: float) -> float:
        """The function, a day."""
        return self.function_month(requests_per_day).usd_per_day

    def function_month(self, requests_per_day: float) -> Bill:
        """The function's month."""
        requests = requests_per_day * DAYS_A_MONTH
        return function_bill(self.function, requests_per_month=requests, book=self.book)

    def fleet_usd(self, requests_per_day: float) -> float:
        """The fleet, a day."""
        return self.fleet_month(requests_per_day).usd_per_day

    def fleet_month(self, requests_per_day: float) -> Bill:
        """The fleet's month."""
        return fleet_bill(self.fleet, requests_per_day=requests_per_day, book=self.book)

    def mix(self, requests_per_day: float) -> Mix:
        """The cheapest number of instances with the function for the rest."""
        fleet = replace(self.fleet, minimum=0)
        return cheapest_mix(fleet, self.function, requests_per_day=requests_per_day, book=self.book)

    def crossings(self, *, up_to: int = _UP_TO) -> list[Crossing]:
        """Every change of the cheaper side up to that many requests a day."""
        return crossings(
            self.function_usd,
            self.fleet_usd,
            names=("Lambda", "EC2"),
            up_to=up_to,
            steps=steps(self.fleet, up_to=up_to),
        )


def answer(question: Question, *, requests_per_day: float) -> dict[str, Any]:
    """Everything as plain values, for `--json`."""
    mix = question.mix(requests_per_day)
    return {
        "prices": question.book.name,
        "times": question.origin,
        "profile": question.profile_name,
        "requests_per_day": requests_per_day,
        "lambda": question.function_month(requests_per_day).to_json(),
        "ec2": {
            "instances": instances_needed(question.fleet, requests_per_day=requests_per_day),
            **question.fleet_month(requests_per_day).to_json(),
        },
        "mix": {
            "instances": mix.instances,
            "on_fleet": mix.on_fleet,
            "on_lambda": mix.on_lambda,
            **mix.bill.to_json(),
        },
        "break_even": [asdict(crossing) for crossing in question.crossings()],
        "papers": [asdict(found) for found in discrepancies()],
    }


def _retired(instance_type: str) -> bool:
    catalog = Catalog.load()
    return instance_type in catalog and catalog[instance_type].retired


def report(question: Question, *, requests_per_day: float) -> Report:
    """The report of the question."""
    found = question.crossings()
    source = f"prices of {question.book.name}, times {question.origin}"
    shown: list[Section] = [
        Headlines(_headlines(question, found, requests_per_day, source)),
        _ladder(question, source),
        _plot(question, found),
        _crossings(found, source),
        _bills(question, requests_per_day, source),
        Table(
            "The paper's printed costs, recalculated from its own prices",
            ["what", "printed", "recalculated", "why they differ"],
            [Row(cells) for cells in recalculated_rows()],
            note="Lee, Lee and Kim 2020, section 4.1.",
        ),
        _prices(question.book),
    ]
    if question.book.historical:
        shown.insert(1, Note(question.book.note))
    elif _retired(question.fleet.instance_type):
        warning = (
            f"AWS has retired {question.fleet.instance_type}: it can no longer be started. Its "
            "price is the last that was listed."
        )
        shown.insert(1, Note(warning, level="warning"))
    return Report(
        title="Lambda or EC2?",
        subtitle=(
            f"{question.function.memory_mb} MB {question.function.arch} at "
            f"{format_number(question.function.seconds * 1000)} ms a request, against "
            f"{question.fleet.instance_type} at "
            f"{format_number(question.fleet.images_per_second)} images/s; "
            f"load {question.profile_name}; {source}"
        ),
        sections=shown,
        data=answer(question, requests_per_day=requests_per_day),
    )


def _headlines(
    question: Question, found: list[Crossing], requests: float, source: str
) -> list[Headline]:
    items = []
    for first in found[:1]:
        from_here = computed(first.requests_per_day, source=source)
        words = "requests a day: the break-even point, solved"
        items.append(Headline(f"{first.cheaper} is cheaper from", from_here, words))
    for side, usd in (("Lambda", question.function_usd), ("EC2", question.fleet_usd)):
        a_day = computed(usd(requests), "USD", source=source)
        items.append(Headline(f"{side} at {requests:,.0f} requests a day", a_day, "a day"))
    return items


def _ladder(question: Question, source: str) -> Table:
    rows = []
    for requests in LADDER:
        function, fleet = question.function_usd(requests), question.fleet_usd(requests)
        mix = question.mix(requests)
        count = instances_needed(question.fleet, requests_per_day=requests)
        cells: list[Cell] = [
            f"{requests:,}",
            computed(function, "USD", source=source),
            computed(fleet, "USD", source=source),
            f"{count}",
            computed(mix.bill.usd_per_day, "USD", source=source),
            _mix_words(mix, requests),
            "Lambda" if function <= fleet else "EC2",
        ]
        rows.append(Row(cells))
    columns = [
        "requests a day",
        "Lambda a day",
        "EC2 a day",
        "instances",
        "mix a day",
        "the mix",
        "cheaper",
    ]
    return Table("Cost a day against requests a day", columns, rows, narrow=(0, 1, 2, 4, 5, 6))


def _mix_words(mix: Mix, requests: float) -> str:
    if not mix.instances:
        return "all on Lambda"
    instances = f"{mix.instances:,} instance{'' if mix.instances == 1 else 's'}"
    share = mix.on_lambda / requests
    if not share:
        return instances
    return f"{instances}, {'under 1%' if share < 0.01 else f'{share:.0%}'} on Lambda"


def _plot(question: Question, found: Sequence[Crossing]) -> Lines:
    grid = sorted(
        {int(10 ** (place / 12)) for place in range(24, 99)}
        | {crossing.requests_per_day for crossing in found}
    )
    return Lines(
        "Cost a day",
        [
            Line("Lambda", [(n, question.function_usd(n)) for n in grid]),
            Line("EC2", [(n, question.fleet_usd(n)) for n in grid]),
            Line("mix", [(n, question.mix(n).bill.usd_per_day) for n in grid[::4]]),
        ],
        "requests a day",
        "USD a day",
        log_x=True,
        log_y=True,
        points=[
            Point(f"{c.cheaper} is cheaper from here", c.requests_per_day, c.usd_per_day)
            for c in found[:1]
        ],
    )


def _crossings(found: Sequence[Crossing], source: str) -> Table:
    rows = []
    for one in found[:_CROSSINGS_SHOWN]:
        usd = computed(one.usd_per_day, "USD", source=source)
        rows.append(Row([f"from {one.requests_per_day:,}", one.cheaper, usd]))
    note = "Solved on whole requests a day, between the steps at which the fleet grows."
    if len(found) > _CROSSINGS_SHOWN:
        note += f" {len(found) - _CROSSINGS_SHOWN} further changes are in the JSON."
    if not found:
        note = f"The cheaper side does not change up to {_UP_TO:,} requests a day."
    return Table("Break-even", ["requests a day", "cheaper from there", "a day"], rows, note=note)


def _bills(question: Question, requests: float, source: str) -> Table:
    rows = []
    for side, bill in (
        ("Lambda", question.function_month(requests)),
        ("EC2", question.fleet_month(requests)),
    ):
        for item in bill.items:
            usd = computed(item.usd, "USD", source=source)
            rows.append(Row([side, item.name, f"{item.quantity:,.6g} {item.unit}", usd]))
        rows.append(Row([side, "together", "", computed(bill.usd, "USD", source=source)]))
    return Table(
        f"A month of {requests:,.0f} requests a day, item by item",
        ["side", "item", "quantity", "a month"],
        rows,
        note="Not counted: data sent to the internet, what S3 keeps, CloudWatch, Secrets Manager.",
    )


def recalculated_rows() -> list[tuple[str, Figure, Figure, str]]:
    """The serverless paper's printed costs beside what its own prices give, and why they differ."""
    return [
        (
            found.what,
            paper(found.printed, found.unit, source="section 4.1", printed=f"{found.printed:,}"),
            computed(found.recomputed, found.unit, source="the paper's own prices"),
            found.why,
        )
        for found in discrepancies()
    ]


def decimal(value: float) -> str:
    """Without an exponent: 0.0000002."""
    return f"{value:.12f}".rstrip("0").rstrip(".")


def _prices(book: PriceBook) -> Table:
    rows = []
    for key, price in sorted({**book.prices, **book.ec2}.items()):
        tier = f"{decimal(price.usd)} USD per {price.unit}"
        rows.append(Row([key, tier, price.date.isoformat(), price.source]))
    return Table(
        f"Prices of the book {book.name}",
        ["price", "first tier", "date", "source"],
        rows,
        narrow=(0, 1, 2),
    )
