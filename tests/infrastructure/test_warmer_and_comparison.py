from __future__ import annotations

import json
from typing import Any

import pytest

from runtime.contract import Env, Output, WarmerMetric
from visionstack.cost.serverless import WARMER_MEMORY_MB

WARMER = "visionstack-warmer"
COMPARISON = "visionstack-comparison"


@pytest.fixture(scope="module")
def comparison(synthesized: Any) -> Any:
    return synthesized("comparison")


def test_the_warmer_runs_every_few_minutes_and_is_never_late(defaults: Any) -> None:
    rule = defaults.only(WARMER, "AWS::Events::Rule")
    assert rule["ScheduleExpression"] == "rate(5 minutes)"
    (target,) = rule["Targets"]
    assert target["RetryPolicy"]["MaximumRetryAttempts"] == 0
    assert target["RetryPolicy"]["MaximumEventAgeInSeconds"] == 60
    queued = defaults.only(WARMER, "AWS::Lambda::EventInvokeConfig")
    assert (queued["MaximumRetryAttempts"], queued["MaximumEventAgeInSeconds"]) == (0, 60)


def test_the_warmer_may_call_the_alias_and_nothing_else(defaults: Any) -> None:
    statements = [
        statement
        for policy in defaults.resources(WARMER, "AWS::IAM::Policy")
        for statement in policy["PolicyDocument"]["Statement"]
    ]
    (calls,) = [one for one in statements if one["Action"] == "lambda:InvokeFunction"]
    assert "Alias" in json.dumps(calls["Resource"])
    function = defaults.only(WARMER, "AWS::Lambda::Function")
    assert function["Environment"]["Variables"][Env.WARM_FUNCTION] == calls["Resource"]


def test_the_warmers_targets_reach_it_as_json(defaults: Any) -> None:
    variables = defaults.only(WARMER, "AWS::Lambda::Function")["Environment"]["Variables"]
    assert json.loads(variables[Env.WARM_TARGETS]) == {"default": 5, "hours": {}, "spare": 1}
    assert variables[Env.WARM_SLEEP_MS] == "400"


def test_the_cost_model_prices_the_warmer_that_is_deployed(defaults: Any) -> None:
    assert defaults.only(WARMER, "AWS::Lambda::Function")["MemorySize"] == WARMER_MEMORY_MB


def test_too_few_environments_and_a_silent_warmer_raise_the_alarm(defaults: Any) -> None:
    alarm = defaults.only(WARMER, "AWS::CloudWatch::Alarm")
    assert (alarm["Namespace"], alarm["MetricName"]) == (
        WarmerMetric.NAMESPACE,
        WarmerMetric.SHORT,
    )
    assert alarm["TreatMissingData"] == "breaching"
    assert (alarm["Period"], alarm["EvaluationPeriods"]) == (300, 3)


def test_each_compared_type_has_a_group_that_the_deployment_leaves_empty(comparison: Any) -> None:
    groups = json.loads(comparison.outputs(COMPARISON)[Output.COMPARISON_GROUPS])
    assert groups == {
        "c7i.xlarge": "visionstack-compare-c7i-xlarge",
        "g6.xlarge": "visionstack-compare-g6-xlarge",
        "c7g.xlarge": "visionstack-compare-c7g-xlarge",
    }
    deployed = comparison.resources(COMPARISON, "AWS::AutoScaling::AutoScalingGroup")
    assert {group["AutoScalingGroupName"] for group in deployed} == set(groups.values())
    for group in deployed:
        # CloudFormation waits for the capacity a template asks for: one type without quota would
        # roll all of them back.
        assert (group["MinSize"], group["MaxSize"]) == ("0", "1")
        assert group.get("DesiredCapacity", "0") == "0"


def test_a_compared_instance_ends_in_time_and_is_not_replaced(comparison: Any) -> None:
    for template in comparison.resources(COMPARISON, "AWS::EC2::LaunchTemplate"):
        data = template["LaunchTemplateData"]
        assert data["InstanceInitiatedShutdownBehavior"] == "terminate"
        script = json.dumps(data["UserData"])
        first = script.index("shutdown -h +30")
        assert first < script.index("suspend-processes") < script.index("aws s3 cp")
        assert "measure.sh" in script
        assert f"{Env.MEASURE_SECONDS} '10'" in script


def test_the_shutdown_is_for_real_instances_alone(comparison: Any) -> None:
    for template in comparison.resources(COMPARISON, "AWS::EC2::LaunchTemplate"):
        parts = template["LaunchTemplateData"]["UserData"]["Fn::Base64"]["Fn::Join"][1]
        lines = "".join(part for part in parts if isinstance(part, str)).splitlines()
        guard = lines.index('if [ "$ROOT" = /opt/visionstack ]; then')
        end = lines.index("fi")
        for number, line in enumerate(lines):
            if "shutdown" in line:
                assert guard < number < end


def test_nobody_may_connect_to_a_compared_instance(comparison: Any) -> None:
    for group in comparison.resources(COMPARISON, "AWS::EC2::SecurityGroup"):
        assert group.get("SecurityGroupIngress", []) == []


def test_each_architecture_and_kind_has_its_own_package(comparison: Any) -> None:
    fetched = {
        line
        for template in comparison.resources(COMPARISON, "AWS::EC2::LaunchTemplate")
        for line in json.dumps(template["LaunchTemplateData"]["UserData"]).split("\\n")
        if "aws s3 cp" in line
    }
    assert len(fetched) == 3
