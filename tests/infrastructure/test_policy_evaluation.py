"""The evaluator against cases that AWS's documentation decides."""

from __future__ import annotations

from typing import Any

import pytest

from tests.infrastructure.policy_evaluation import Request, Statement, allowed

ROLE = "arn:aws:iam::123456789012:role/one"
KEY = "arn:aws:s3:::bucket/models/a"


def statement(effect: str, action: Any, resource: Any, **more: Any) -> Statement:
    return Statement.read({"Effect": effect, "Action": action, "Resource": resource, **more})


def get(**context: str) -> Request:
    named = {name.replace("_", ":", 1): value for name, value in context.items()}
    return Request(action="s3:GetObject", resource=KEY, context=named)


READ = statement("Allow", "s3:GetObject", "arn:aws:s3:::bucket/*")


def test_what_nobody_allows_is_denied() -> None:
    assert not allowed(get(), identity=[])
    assert not allowed(get(), identity=[statement("Allow", "s3:PutObject", "*")])


def test_a_role_policy_or_a_resource_policy_suffices() -> None:
    """IAM User Guide: "the resulting permissions are the union of the permissions of the two"."""
    for_role = statement("Allow", "s3:GetObject", KEY, Principal={"AWS": ROLE})
    assert allowed(get(), identity=[READ])
    assert allowed(get(), identity=[], resource=[for_role], principal=ROLE)
    assert not allowed(get(), identity=[], resource=[for_role], principal=f"{ROLE}s")


def test_a_service_in_a_resource_policy_is_no_role() -> None:
    for_service = statement("Allow", "s3:*", "*", Principal={"Service": "logging.s3.amazonaws.com"})
    assert not allowed(get(), identity=[], resource=[for_service], principal=ROLE)


@pytest.mark.parametrize("everybody", ["*", {"AWS": "*"}])
def test_an_explicit_deny_overrides_any_allow(everybody: Any) -> None:
    deny = statement("Deny", "s3:*", "arn:aws:s3:::bucket/*", Principal=everybody)
    assert not allowed(get(), identity=[READ], resource=[deny], principal=ROLE)
    assert not allowed(get(), identity=[READ, statement("Deny", "*", "*")])


@pytest.mark.parametrize(
    ("pattern", "fits"),
    [
        ("arn:aws:s3:::bucket/*", True),  # a star also stands for slashes
        ("arn:aws:s3:::bucket/models/?", True),
        ("arn:aws:s3:::bucket", False),  # a bucket is not its objects
        ("arn:aws:s3:::bucket/models", False),
        ("arn:aws:s3:::BUCKET/*", False),
        ("arn:aws:s3:::bucket/[m]odels/a", False),  # brackets mean nothing
    ],
)
def test_resources_match_by_star_and_question_mark(pattern: str, fits: bool) -> None:
    assert allowed(get(), identity=[statement("Allow", "s3:GetObject", pattern)]) is fits


@pytest.mark.parametrize(
    ("pattern", "fits"),
    [
        ("S3:getobject", True),
        ("s3:Get*", True),
        ("s3:GetObjectVersion", False),
        ("GetObject", False),
    ],
)
def test_actions_match_whatever_their_case(pattern: str, fits: bool) -> None:
    assert allowed(get(), identity=[statement("Allow", pattern, "*")]) is fits


LISTING = {"StringLike": {"s3:prefix": ["models/*", "results/*"]}}


@pytest.mark.parametrize(
    ("condition", "context", "fits"),
    [
        (LISTING, {"s3_prefix": "results/run/"}, True),  # one of the values suffices
        (LISTING, {"s3_prefix": "pictures/"}, False),
        (LISTING, {}, False),  # an absent key does not match
        ({"StringLikeIfExists": LISTING["StringLike"]}, {}, True),
        ({"Bool": {"aws:SecureTransport": False}}, {"aws_SecureTransport": "false"}, True),
        ({"Bool": {"aws:SecureTransport": "false"}}, {"aws_SecureTransport": "true"}, False),
        ({"NumericLessThan": {"s3:TlsVersion": 1.2}}, {"s3_TlsVersion": "1.1"}, True),
        ({"NumericLessThan": {"s3:TlsVersion": 1.2}}, {"s3_TlsVersion": "1.2"}, False),
        ({"StringEquals": {"s3:x": "a"}, "Bool": {"s3:y": "true"}}, {"s3_x": "a"}, False),
        (
            {"ArnLike": {"aws:SourceArn": "arn:aws:s3:::b*"}},
            {"aws_SourceArn": "arn:aws:s3:::bu"},
            True,
        ),
    ],
)
def test_all_conditions_have_to_hold(condition: Any, context: dict[str, str], fits: bool) -> None:
    held = statement("Allow", "s3:GetObject", "*", Condition=condition)
    assert allowed(get(**context), identity=[held]) is fits


@pytest.mark.parametrize(
    "document",
    [
        {"NotAction": "s3:GetObject"},
        {"Condition": {"DateGreaterThan": {"s3:prefix": "2020"}}},
        {"Resource": "arn:aws:s3:::${aws:username}"},
    ],
)
def test_what_is_not_evaluated_is_refused(document: dict[str, Any]) -> None:
    whole = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*", **document}
    with pytest.raises(ValueError, match="not evaluated here"):
        allowed(get(s3_prefix="a"), identity=[Statement.read(whole)])


def test_a_statement_comes_apart_into_actions_on_resources() -> None:
    whole = statement("Allow", ["s3:GetObject", "s3:PutObject"], ["a", "b"])
    parts = [(grant.actions, grant.resources) for grant in whole.grants()]
    assert len(parts) == len(set(parts)) == 4
