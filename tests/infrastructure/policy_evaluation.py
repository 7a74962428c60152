"""AWS's decision about one request of a role in the account that owns the resource.

After the IAM User Guide, "Policy evaluation for requests within a single account" (an allow by the
role's policies or the resource's suffices, an explicit deny overrides it, what nobody allows is
denied) and "IAM JSON policy elements: Condition operators". What the deployed policies do not use
(NotAction, policy variables, other operators, boundaries) raises ValueError instead of guessing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Request:
    """One action on one resource (an ARN, or `*`), with the condition keys that it carries."""

    action: str
    resource: str
    context: Mapping[str, str] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, kw_only=True)
class Statement:
    """`principals` is None in an identity's policy; ARNs, services and `*` in a resource's."""

    effect: str
    actions: tuple[str, ...]
    resources: tuple[str, ...]
    conditions: Mapping[str, Mapping[str, tuple[str, ...]]] = field(
        default_factory=dict, hash=False
    )
    principals: tuple[str, ...] | None = None

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Statement:
        """Of a policy document's statement. Raises ValueError for elements not known here."""
        known = {"Sid", "Effect", "Action", "Resource", "Condition", "Principal"}
        if unknown := document.keys() - known:
            raise ValueError(f"policy elements that are not evaluated here: {sorted(unknown)}")
        conditions = {
            operator: {key: _texts(values) for key, values in keys.items()}
            for operator, keys in document.get("Condition", {}).items()
        }
        principal = document.get("Principal")
        if isinstance(principal, Mapping):
            principals = tuple(text for values in principal.values() for text in _texts(values))
        else:
            principals = None if principal is None else _texts(principal)
        return cls(
            effect=document["Effect"],
            actions=_texts(document["Action"]),
            resources=_texts(document["Resource"]),
            conditions=conditions,
            principals=principals,
        )

    def grants(self) -> list[Statement]:
        """The statement taken apart: one of its actions on one of its resources each."""
        return [
            replace(self, actions=(action,), resources=(resource,))
            for action in self.actions
            for resource in self.resources
        ]

    def applies(self, request: Request) -> bool:
        """Whether action, resource and all conditions fit."""
        return (
            any(_like(action, request.action, fold=True) for action in self.actions)
            and any(_like(resource, request.resource) for resource in self.resources)
            and all(
                _holds(operator, wanted, request.context.get(key))
                for operator, keys in self.conditions.items()
                for key, wanted in keys.items()
            )
        )


def allowed(
    request: Request,
    *,
    identity: Iterable[Statement],
    resource: Iterable[Statement] = (),
    principal: str = "",
) -> bool:
    """Whether AWS lets `principal` (a role's ARN) do this with these two kinds of policies."""
    meant = [
        statement
        for statement in resource
        if statement.principals is not None and {"*", principal} & set(statement.principals)
    ]
    effects = {one.effect for one in (*identity, *meant) if one.applies(request)}
    return "Allow" in effects and "Deny" not in effects


def _holds(operator: str, wanted: tuple[str, ...], given: str | None) -> bool:
    name = operator.removesuffix("IfExists")
    if name not in _OPERATORS:
        raise ValueError(f"condition operator {operator} is not evaluated here")
    if given is None:
        return operator != name
    return any(_OPERATORS[name](one, given) for one in wanted)


def _like(pattern: str, text: str, *, fold: bool = False) -> bool:
    """`*` stands for any characters, also `/` and `:`, and `?` for one."""
    if "${" in pattern:
        raise ValueError(f"policy variables are not evaluated here: {pattern}")
    parts = {"*": ".*", "?": "."}
    expression = "".join(parts.get(character) or re.escape(character) for character in pattern)
    return re.fullmatch(expression, text, re.DOTALL | (re.IGNORECASE if fold else 0)) is not None


_OPERATORS: Mapping[str, Callable[[str, str], bool]] = {
    "StringEquals": lambda wanted, given: wanted == given,
    "StringLike": _like,
    "ArnLike": _like,
    "Bool": lambda wanted, given: wanted.lower() == given.lower(),
    "NumericLessThan": lambda wanted, given: float(given) < float(wanted),
}


def _texts(value: Any) -> tuple[str, ...]:
    values = value if isinstance(value, list | tuple) else [value]
    return tuple(str(one).lower() if isinstance(one, bool) else str(one) for one in values)
