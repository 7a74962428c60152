"""`visionstack status`: one screen of what runs where."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from visionstack import console
from visionstack.cli.options import JsonOption, PrefixOption
from visionstack.cloud import Cloud, KnownCloud
from visionstack.errors import VisionstackError

if TYPE_CHECKING:
    from visionstack.cli.status_run import Lane

CLOUDS: Final[tuple[KnownCloud, ...]] = ("local", "aws")
HOURS_A_MONTH: Final = 730


def status(
    *,
    cloud: Annotated[
        Cloud, typer.Option(help="local: the embedded cloud; auto: it and AWS.")
    ] = "auto",
    prefix: PrefixOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show both lanes in both clouds: state, address, models, age, price, and what to do next."""
    found = [_look(one, prefix=prefix) for one in (CLOUDS if cloud == "auto" else (cloud,))]
    if as_json:
        console.print_json(
            [{**one, "lanes": [asdict(lane) for lane in one["lanes"]]} for one in found]
        )
        return
    for one in found:
        for line in lines(one, now=datetime.now(UTC)):
            console.out.print(line, soft_wrap=True, markup=False)


def _look(cloud: KnownCloud, *, prefix: str | None) -> dict[str, Any]:
    """One cloud: its lanes, or why it cannot be asked."""
    from visionstack.cli.status_run import ask_healthz, ask_metrics, lanes, next_step
    from visionstack.cloud.deployment import connect

    told: dict[str, Any] = {"cloud": cloud, "where": "", "lanes": [], "error": "", "next": ""}
    try:
        deployment = connect(cloud=cloud, prefix=prefix)
        told["where"] = deployment.endpoint_url or deployment.region
        told["lanes"] = lanes(deployment, healthz=ask_healthz, metrics=ask_metrics)
        told["next"] = next_step(cloud, told["lanes"])
    except VisionstackError as error:
        told["error"] = error.message
        told["next"] = (
            "visionstack try (no cloud) or visionstack local deploy"
            if cloud == "local"
            else error.remedy or ""
        )
    return told


def lines(told: dict[str, Any], *, now: datetime) -> list[str]:
    """One cloud as text. Values stand alone at the end of a line, to be copied."""
    name = "Embedded cloud" if told["cloud"] == "local" else "AWS"
    found = [f"{name}  {told['where']}".rstrip()]
    if told["error"]:
        found.append(f"  {told['error']}")
    for lane in told["lanes"]:
        found += _lane_lines(lane, local=told["cloud"] == "local", now=now)
    hourly = [lane.usd_per_hour for lane in told["lanes"] if lane.usd_per_hour is not None]
    if hourly and told["cloud"] == "aws":
        found.append(
            f"  together    ${sum(hourly):.3f} an hour on demand, us-east-1; end: "
            "`npx cdk destroy --all`"
        )
    if told["next"]:
        found.append(f"  next        {told['next']}")
    return found


def _lane_lines(lane: Lane, *, local: bool, now: datetime) -> list[str]:
    if lane.since is None:
        return [f"  {lane.name:<11} not deployed"]
    since = datetime.fromisoformat(lane.since)
    found = [
        f"  {lane.name:<11} {lane.state}",
        f"    since     {since.astimezone(UTC):%Y-%m-%d %H:%M} UTC ({_age(now - since)})",
        f"    runs      {lane.runs}",
    ]
    if lane.address:
        found.append(f"    address   {lane.address}")
    if lane.page:
        found.append(f"    page      {lane.page}")
    found += [f"    model     {model}" for model in lane.models]
    found += [f"    newer     {one}" for one in lane.newer]
    if lane.warm:
        found.append(f"    warm      {lane.warm}")
    if lane.load:
        found.append(f"    does      {lane.load}")
    if lane.usd_per_hour is not None:
        usd = f"${lane.usd_per_hour:.4f} an hour, ${lane.usd_per_hour * HOURS_A_MONTH:.2f} a month"
        calls = ", and its calls" if lane.name == "serverless" else ""
        elsewhere = "nothing here; on AWS " if local else ""
        found.append(f"    costs     {elsewhere}{usd}{calls}")
        if lane.usd_so_far is not None and lane.created is not None:
            made = datetime.fromisoformat(lane.created).astimezone(UTC)
            found.append(
                f"    so far    {elsewhere}about ${lane.usd_so_far:.2f} since"
                f" {made:%Y-%m-%d} (an estimate)"
            )
    return found + [f"    trouble   {one}" for one in lane.trouble]


def _age(span: Any) -> str:
    minutes = int(span.total_seconds() // 60)
    if minutes < 120:
        return f"{minutes} min"
    return f"{minutes // 60} h" if minutes < 48 * 60 else f"{minutes // 1440} days"
