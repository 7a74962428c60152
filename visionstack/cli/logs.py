"""`visionstack logs`: what the deployed parts log, in order, and what they go on to log."""

from __future__ import annotations

import json
import re
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Final

import typer

from visionstack import console
from visionstack.cli.options import CloudOption, PrefixOption
from visionstack.errors import UsageError

if TYPE_CHECKING:
    from visionstack.cloud.logs import Entry

_SPAN: Final = re.compile(r"(\d+)([smhd])")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_PLACES: Final = frozenset({"time", "level", "logger", "message"})


def logs(
    part: Annotated[
        list[str] | None,
        typer.Argument(help="streaming, classifier, warmer or storage; default: all."),
    ] = None,
    *,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with what is logged from now on.")
    ] = False,
    since: Annotated[str, typer.Option(help="How far back, as 90s, 10m, 2h or 1d.")] = "10m",
    cloud: CloudOption = "auto",
    prefix: PrefixOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="A line of JSON an entry.")] = False,
) -> None:
    """Show what the deployed parts log: servers, functions, warmer, and boots of instances."""
    from visionstack.cloud import logs as reading
    from visionstack.cloud.deployment import connect

    unknown = sorted(set(part or []) - set(reading.PARTS))
    if unknown:
        raise UsageError(
            f"There is no part {', '.join(unknown)}.", remedy=f"Choose: {', '.join(reading.PARTS)}."
        )
    parts = [one for one in reading.PARTS if not part or one in part]
    begin = int((time.time() - seconds_of(since)) * 1000)
    deployment = connect(cloud=cloud, prefix=prefix)
    where = reading.groups(deployment, parts)
    if follow:
        console.err.print("following; Ctrl-C ends it")
    for entry in reading.read(deployment, where, since_ms=begin, follow=follow):
        if as_json:
            console.print_json_line(entry.to_json())
        elif (told := line(entry)) is not None:
            console.out.print(told, markup=False, soft_wrap=True)


def seconds_of(text: str) -> int:
    """A span such as `10m`. Raises UsageError."""
    found = _SPAN.fullmatch(text)
    if found is None:
        raise UsageError(f"--since {text}: no span.", remedy="Give it as 90s, 10m, 2h or 1d.")
    return int(found[1]) * _SECONDS[found[2]]


def line(entry: Entry) -> str | None:
    """An entry as people read it: when (UTC), which part, what; None for what is no news.

    That is metrics in CloudWatch's format, and where Lambda says that a call began or ended.
    """
    if entry.message.startswith(("START RequestId", "END RequestId")):
        return None
    at = datetime.fromtimestamp(entry.milliseconds / 1000, UTC)
    head = f"{at:%H:%M:%S}Z {entry.part:<10}"
    try:
        logged = json.loads(entry.message)
    except ValueError:
        logged = None
    if isinstance(logged, dict) and "_aws" in logged:
        return None
    if not isinstance(logged, dict) or "message" not in logged:
        return f"{head} {' '.join(entry.message.split())}"
    level = f"{logged['level']} " if logged.get("level", "INFO") != "INFO" else ""
    rest = " ".join(f"{key}={value}" for key, value in logged.items() if key not in _PLACES)
    # Lines within an entry are further in: none looks like an entry of its own.
    return f"{head} {level}{logged['message']} {rest}".rstrip().replace("\n", "\n    ")
