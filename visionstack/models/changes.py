"""An entry of the log of a model's versions, and its JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from typing import Any, Final, Literal

from runtime.inference.store import Canary

Action = Literal["publish", "promote", "canary", "rollback", "collect", "upload"]
"""`canary` begins one, changes its share or ends it; `upload` brings a deleted version back."""
_LATER: Final = ("back", "canary", "ap50_95")


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """An entry of the log. `new` is what is current after it. `top1` is the accuracy of the
    promoted or tried version on its test pictures with its 95 % interval, `ap50_95` a detector's
    average precision, None where it was not trained here; `gone` are the versions that were
    deleted, `back` is the one that was uploaded again; `canary` is what is tried since then.
    """

    number: int
    action: Action
    old: str | None
    new: str
    who: str
    when: str
    top1: dict[str, float] | None = None
    gone: tuple[str, ...] = ()
    back: str | None = None
    canary: Canary | None = None
    ap50_95: dict[str, float] | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values. What came later than the rest is left out where it says nothing, so that
        an earlier version of this project reads it."""
        plain = {**asdict(self), "gone": list(self.gone)}
        if self.canary:
            plain["canary"] = self.canary._asdict()
        return {key: plain[key] for key in plain if key not in _LATER or plain[key] is not None}


def read_change(data: bytes | str) -> Change:
    """The entry that `Change.to_json` wrote, or a later version of this project."""
    value = json.loads(data)
    known = {one.name: value[one.name] for one in fields(Change) if one.name in value}
    canary = Canary(**known["canary"]) if known.get("canary") else None
    return Change(**{**known, "gone": tuple(known["gone"]), "canary": canary})
