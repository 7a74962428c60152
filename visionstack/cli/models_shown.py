"""What `visionstack models` says of versions, their shares and their differences."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.markup import escape

from visionstack import console

if TYPE_CHECKING:
    from visionstack.models.changes import Change
    from visionstack.models.differences import Row


def shared(shares: dict[str, float]) -> list[str]:
    """Versions, each with its share where that is not all."""
    return [one if share == 1 else f"{one}, {percent(share)}" for one, share in shares.items()]


def percent(share: float) -> str:
    """A share from 0 to 1."""
    return f"{share * 100:.3g} %"


def told_of_canary(change: Change) -> str:
    """What a change of the canary was, without its name."""
    if change.canary is None:
        return f"ended, all to {change.new}"
    return f"{change.canary.version} on {percent(change.canary.share)} beside {change.new}"


def tell(change: Change | None, as_json: bool, *, otherwise: str = "it is current already") -> None:
    """A change as a sentence or as JSON; `otherwise` where there was none."""
    if as_json:
        console.print_json(change.to_json() if change else None)
    elif change is None:
        console.out.print(otherwise)
    elif change.action == "canary":
        console.out.print(f"canary: {told_of_canary(change)}")
    else:
        console.out.print(f"current: {change.new} (was {change.old})")


def print_differences(rows: list[Row], old: str, new: str) -> None:
    """A table of what differs between two versions."""
    from rich.table import Table

    table = Table("", "what", old, new, "")
    group = ""
    for row in rows:
        shown = "" if row.group == group else row.group
        group = row.group
        table.add_row(shown, *(escape(one) for one in (row.what, row.old, row.new, row.note)))
    console.out.print(table if rows else "they are alike")
