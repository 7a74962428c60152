"""Deploying to the embedded cloud."""

from __future__ import annotations

from typing import Any

import pytest

from runtime.contract import Env, Output
from visionstack.deploy import local
from visionstack.errors import UsageError


@pytest.mark.parametrize(
    "context",
    [
        {"waf": "true"},
        {"flow_logs": "true"},
        {"cloudfront_page": "true"},
        {"cold_start": "provisioned", "warm_hours": "9-18=8"},
    ],
)
def test_a_setting_that_the_embedded_cloud_cannot_take_is_refused_before_it_starts(
    context: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    def started(**_: object) -> None:
        raise AssertionError("the embedded cloud was started")

    monkeypatch.setattr(local.lifecycle, "up", started)
    with pytest.raises(UsageError, match="cannot take") as refused:
        local.deploy(context=context)
    assert "on AWS" in str(refused.value.remedy)


class _Function:
    """CloudFormation and Lambda of a deployment whose classifier serves `model`."""

    def __init__(self, model: str | None) -> None:
        self.model = model

    def stack_name(self, stack: str) -> str:
        return f"visionstack-{stack}"

    def client(self, service: str) -> _Function:
        return self

    def describe_stacks(self, **_: object) -> dict[str, Any]:
        outputs = {Output.CLASSIFIER_FUNCTION: "f", Output.CLASSIFIER_ALIAS: "live"}
        rows = [{"OutputKey": key, "OutputValue": value} for key, value in outputs.items()]
        state = "CREATE_COMPLETE" if self.model else "DELETE_COMPLETE"
        return {"Stacks": [{"StackStatus": state, "Outputs": rows}]}

    def get_function_configuration(self, **_: object) -> dict[str, Any]:
        return {"Environment": {"Variables": {Env.MODEL: self.model}}}


@pytest.mark.parametrize(
    ("served", "context", "told"),
    [
        ("mugs", {}, True),
        ("mugs", {"classifier_model": "resnet50"}, False),
        ("efficientnet-lite0", {}, False),
        (None, {}, False),
    ],
)
def test_a_deployment_that_forgets_the_users_classifier_says_so_first(
    served: str | None,
    context: dict[str, object],
    told: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    class ReachedError(Exception):
        pass

    def stop(*_: object, **__: object) -> None:
        raise ReachedError

    monkeypatch.setattr(local.lifecycle, "up", lambda: None)
    monkeypatch.setattr(local, "bootstrap_embedded_cloud", lambda: None)
    monkeypatch.setattr(local, "connect", lambda **_: _Function(served))
    monkeypatch.setattr(local, "build_model", stop)
    monkeypatch.setattr(local, "_deploy_and_publish", stop)
    with pytest.raises(ReachedError):
        local.deploy(context=context)
    said = capsys.readouterr().err
    assert ("from mugs to efficientnet-lite0" in said) is told
    assert ("-c classifier_model=mugs" in said) is told
