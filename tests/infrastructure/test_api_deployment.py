"""API Gateway serves a snapshot: a change reaches callers only by a new `Deployment`.

New is one whose logical id CloudFormation has not seen yet.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aws_cdk import App, Stack
from aws_cdk import aws_lambda as lambda_

from stacks.classifier import api as module
from stacks.classifier.api import ClassifierApi
from stacks.settings.model import DeploymentSettings

NOT_IN_THE_SNAPSHOT = {"Deployment", "Stage", "Account", "ApiKey", "UsagePlan", "UsagePlanKey"}


def resources(context: dict[str, Any], outdir: Path) -> dict[str, dict[str, Any]]:
    app = App(outdir=str(outdir))
    stack = Stack(app, "Api")
    function = lambda_.Function(
        stack,
        "Function",
        runtime=lambda_.Runtime.PYTHON_3_13,
        handler="a.b",
        code=lambda_.Code.from_inline("pass"),
    )
    alias = lambda_.Alias(stack, "Alias", alias_name="live", version=function.current_version)
    settings = DeploymentSettings.from_context(context)
    ClassifierApi(stack, "Front", settings=settings, alias=alias, cors_origin=settings.cors_origin)
    app.synth()
    found: dict[str, dict[str, Any]] = json.loads(
        (outdir / "Api.template.json").read_text(encoding="utf-8")
    )["Resources"]
    return found


def snapshot(found: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """What a deployment holds fast."""
    return {
        name: resource["Properties"]
        for name, resource in found.items()
        if resource["Type"].startswith("AWS::ApiGateway::")
        and resource["Type"].rpartition("::")[2] not in NOT_IN_THE_SNAPSHOT
    }


def deployment(found: dict[str, dict[str, Any]]) -> str:
    (name,) = (name for name, one in found.items() if one["Type"] == "AWS::ApiGateway::Deployment")
    return name


def changed_schema(patch: pytest.MonkeyPatch) -> None:
    schemas = module.request_schemas()
    next(iter(schemas.values()))["properties"]["added"] = {"type": "string"}
    patch.setattr(module, "request_schemas", lambda: schemas)


def changed_error(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(module, "_STATUS", {"Failure": "502"})


def changed_binary(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(module, "_BINARY", ("image/jpeg",))


def one_route_less(patch: pytest.MonkeyPatch) -> None:
    routes = dict(list(module._ROUTES.items())[:-1])
    patch.setattr(module, "_ROUTES", routes)


def other_integration(patch: pytest.MonkeyPatch) -> None:
    real = module.apigateway.LambdaIntegration
    patch.setattr(
        module.apigateway,
        "LambdaIntegration",
        lambda alias, **options: real(alias, **options, request_parameters={}, proxy=False),
    )


def nothing(patch: pytest.MonkeyPatch) -> None:
    del patch


@pytest.mark.parametrize(
    ("change", "context"),
    [
        (changed_schema, {}),
        (changed_error, {}),
        (changed_binary, {}),
        (one_route_less, {}),
        (other_integration, {}),
        (nothing, {"auth": "iam"}),
    ],
)
def test_whatever_of_the_api_changes_makes_a_new_deployment(
    change: Callable[[pytest.MonkeyPatch], None],
    context: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = resources({}, tmp_path / "before")
    change(monkeypatch)
    after = resources(context, tmp_path / "after")
    assert snapshot(after) != snapshot(before)
    assert deployment(after) != deployment(before)


def test_what_lies_outside_of_the_snapshot_makes_none(tmp_path: Path) -> None:
    before = resources({}, tmp_path / "before")
    after = resources({"quota_per_day": "5", "throttle_rate": "7"}, tmp_path / "after")
    assert snapshot(after) == snapshot(before)
    assert deployment(after) == deployment(before)


def test_a_deployment_waits_for_all_that_it_holds(tmp_path: Path) -> None:
    found = resources({}, tmp_path)
    reached, open_ends = set(), [deployment(found)]
    while open_ends:
        name = open_ends.pop()
        if name in found and name not in reached:
            reached.add(name)
            text = json.dumps(found[name].get("Properties", {}))
            open_ends += found[name].get("DependsOn", [])
            open_ends += [other for other in found if f'"{other}"' in text]
    assert set(snapshot(found)) <= reached
