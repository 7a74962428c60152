from __future__ import annotations

import json
from typing import Any

import pytest

from runtime.contract import Env, Output, Route

STACK = "visionstack-classifier"
METHOD = "AWS::ApiGateway::Method"
FUNCTION = "AWS::Lambda::Function"


def classifier(templates: Any, stack: str = STACK) -> dict[str, Any]:
    found: dict[str, Any] = templates.only(stack, FUNCTION)
    return found


def test_the_four_routes_are_there_and_want_the_key(defaults: Any) -> None:
    paths = {part["PathPart"] for part in defaults.resources(STACK, "AWS::ApiGateway::Resource")}
    routes = (Route.CLASSIFICATION, Route.WAKEUP, Route.IMAGES, Route.RECOGNITIONS)
    assert paths == {route.strip("/") for route in routes}
    methods = defaults.resources(STACK, METHOD)
    assert len(methods) == 4
    for method in methods:
        assert (method["HttpMethod"], method["ApiKeyRequired"]) == ("POST", True)


def test_a_key_is_throttled_and_counted(defaults: Any) -> None:
    plan = defaults.only(STACK, "AWS::ApiGateway::UsagePlan")
    assert plan["Throttle"] == {"BurstLimit": 200, "RateLimit": 100}
    assert plan["Quota"] == {"Limit": 1_000_000, "Period": "DAY"}


def test_iam_replaces_the_key(arm: Any) -> None:
    for method in arm.resources("second-classifier", METHOD):
        assert method["AuthorizationType"] == "AWS_IAM"
        assert not method["ApiKeyRequired"]
    assert arm.resources("second-classifier", "AWS::ApiGateway::ApiKey") == []
    assert Output.API_KEY_ID not in arm.outputs("second-classifier")


def test_json_bodies_are_validated_by_the_apis_own_document(defaults: Any) -> None:
    models = {
        tuple(sorted(model["Schema"]["properties"])): model["Schema"]
        for model in defaults.resources(STACK, "AWS::ApiGateway::Model")
    }
    assert set(models) == {
        ("file_path", "method"),
        ("method", "sleep_time"),
        ("content_type", "method"),
    }
    schema = models["file_path", "method"]
    assert schema["properties"]["method"] == {"enum": ["classification"]}
    assert schema["properties"]["file_path"]["type"] == "string"
    assert schema["additionalProperties"] is False
    assert "$ref" not in json.dumps(list(models.values()))
    for method in defaults.resources(STACK, METHOD):
        assert method["RequestValidatorId"]


def test_throttled_callers_are_told_when_to_come_back(defaults: Any) -> None:
    responses = {
        one["ResponseType"]: one
        for one in defaults.resources(STACK, "AWS::ApiGateway::GatewayResponse")
    }
    throttled = responses["THROTTLED"]
    assert throttled["ResponseParameters"] == {"gatewayresponse.header.Retry-After": "'1'"}
    body = throttled["ResponseTemplates"]["application/json"]
    assert json.loads(body.replace("$context.error.messageString", '"words"')) == {
        "code": "throttled",
        "message": "words",
    }
    assert "ResponseParameters" not in responses["BAD_REQUEST_BODY"]


def test_a_function_without_a_free_environment_is_a_503_that_says_when_to_come_back(
    defaults: Any,
) -> None:
    responses = {
        one["ResponseType"]: one
        for one in defaults.resources(STACK, "AWS::ApiGateway::GatewayResponse")
    }
    refused = responses["INTEGRATION_FAILURE"]
    assert refused["StatusCode"] == "503"
    # What Lambda refuses may also come as the gateway's own 500: the client knows it by its code.
    for one in (refused, responses["DEFAULT_5XX"]):
        assert one["ResponseParameters"] == {"gatewayresponse.header.Retry-After": "'1'"}
        assert '"code": "unavailable"' in one["ResponseTemplates"]["application/json"]


def test_pictures_go_through_as_bytes(defaults: Any) -> None:
    kinds = defaults.only(STACK, "AWS::ApiGateway::RestApi")["BinaryMediaTypes"]
    assert {"image/jpeg", "image/png", "application/octet-stream"} <= set(kinds)


def test_python_architecture_and_packaging_follow_the_settings(defaults: Any, arm: Any) -> None:
    function = classifier(defaults)
    assert (function["Runtime"], function["Architectures"]) == ("python3.13", ["x86_64"])
    assert function["Handler"] == "runtime.classifier.handler.handle"
    assert classifier(arm, "second-classifier")["Architectures"] == ["arm64"]
    variables = function["Environment"]["Variables"]
    assert variables[Env.WAIT_FOR_CURRENT_MODEL] == "false"
    assert variables[Env.MODEL] == "efficientnet-lite0"


def test_snapstart_is_for_the_published_version(gpu: Any, defaults: Any) -> None:
    assert classifier(gpu)["SnapStart"] == {"ApplyOn": "PublishedVersions"}
    assert "SnapStart" not in classifier(defaults)


def test_libraries_from_s3_get_room_in_tmp(defaults: Any, synthesized: Any) -> None:
    assert classifier(defaults)["EphemeralStorage"] == {"Size": 512}
    assert classifier(synthesized("comparison"))["EphemeralStorage"] == {"Size": 3072}


def test_libraries_from_s3_get_time_within_the_first_call(defaults: Any, synthesized: Any) -> None:
    assert classifier(defaults)["Timeout"] == 30
    assert classifier(synthesized("comparison"))["Timeout"] == 120


def test_provisioned_environments_follow_the_hours(arm: Any, defaults: Any) -> None:
    alias = arm.only("second-classifier", "AWS::Lambda::Alias")
    assert alias["ProvisionedConcurrencyConfig"] == {"ProvisionedConcurrentExecutions": 2}
    target = arm.only("second-classifier", "AWS::ApplicationAutoScaling::ScalableTarget")
    actions = {
        action["Schedule"]: action["ScalableTargetAction"]["MinCapacity"]
        for action in target["ScheduledActions"]
    }
    assert actions == {"cron(0 9 * * ? *)": 8, "cron(0 18 * * ? *)": 2}
    assert "ProvisionedConcurrencyConfig" not in defaults.only(STACK, "AWS::Lambda::Alias")


def test_every_caller_goes_through_the_alias(defaults: Any) -> None:
    for method in defaults.resources(STACK, METHOD):
        assert "Alias" in json.dumps(method["Integration"]["Uri"])
    definition = defaults.only(STACK, "AWS::StepFunctions::StateMachine")["DefinitionString"]
    assert "Alias" in json.dumps(definition)


def test_reserved_concurrency_tracing_and_waf_are_settings(defaults: Any, arm: Any) -> None:
    acl = "AWS::WAFv2::WebACLAssociation"
    function = classifier(arm, "second-classifier")
    assert function["ReservedConcurrentExecutions"] == 20
    assert function["TracingConfig"] == {"Mode": "Active"}
    assert len(arm.resources("second-classifier", acl)) == 1
    assert "ReservedConcurrentExecutions" not in classifier(defaults)
    assert "TracingConfig" not in classifier(defaults)
    assert defaults.resources(STACK, acl) == []


def test_a_web_acl_lets_pictures_through(arm: Any) -> None:
    acl = arm.only("second-classifier", "AWS::WAFv2::WebACL")
    (common,) = [
        rule["Statement"]["ManagedRuleGroupStatement"]
        for rule in acl["Rules"]
        if rule["Name"] == "AWSManagedRulesCommonRuleSet"
    ]
    counted = {
        one["Name"] for one in common["RuleActionOverrides"] if "Count" in one["ActionToUse"]
    }
    # All of the group's rules that look into bodies: a picture is large and holds any bytes.
    assert counted == {
        "SizeRestrictions_BODY",
        "CrossSiteScripting_BODY",
        "GenericLFI_BODY",
        "GenericRFI_BODY",
        "EC2MetaDataSSRF_BODY",
    }


def test_the_function_reaches_its_prefixes_and_no_other(defaults: Any) -> None:
    (policy,) = [
        policy
        for policy in defaults.resources(STACK, "AWS::IAM::Policy")
        if any("ClassifierFunctionRole" in role["Ref"] for role in policy["Roles"])
    ]
    reached = set()
    for statement in policy["PolicyDocument"]["Statement"]:
        resources = statement["Resource"]
        for resource in resources if isinstance(resources, list) else [resources]:
            if "Fn::Join" in resource:
                reached.add(resource["Fn::Join"][1][-1])
            assert resource != "*"
    assert reached == {"/models/*", "/packages/*", "/results/*", "/pictures/*"}


def test_log_groups_have_a_retention_and_go_with_the_stack(defaults: Any) -> None:
    for stack in defaults.stacks:
        for group in defaults.whole(stack, "AWS::Logs::LogGroup"):
            assert group["Properties"]["RetentionInDays"] == 30
            assert group["DeletionPolicy"] == "Delete"


def test_a_folders_run_is_bounded_retried_and_outlives_failures(defaults: Any) -> None:
    machine = defaults.only(STACK, "AWS::StepFunctions::StateMachine")
    text = "".join(
        part if isinstance(part, str) else "token"
        for part in machine["DefinitionString"]["Fn::Join"][1]
    )
    batches = json.loads(text)["States"]["EveryBatch"]
    assert batches["MaxConcurrency"] == 5
    assert batches["ToleratedFailurePercentage"] == 100
    reader = batches["ItemReader"]["Parameters"]
    assert reader["Key.$"] == "States.Format('results/folders/{}/batches.json', $.run)"
    classify = batches["ItemProcessor"]["States"]["Classify"]
    assert classify["Retry"][0]["MaxAttempts"] == 6
    assert classify["Parameters"]["Payload.$"] == "$"


@pytest.mark.parametrize("stack", [STACK, "visionstack-warmer"])
def test_logs_are_all_that_a_function_may_write_to_cloudwatch(defaults: Any, stack: str) -> None:
    for policy in defaults.resources(stack, "AWS::IAM::Policy"):
        for statement in policy["PolicyDocument"]["Statement"]:
            actions = statement["Action"]
            for action in [actions] if isinstance(actions, str) else actions:
                assert not action.startswith("cloudwatch:")
                assert action != "logs:CreateLogGroup"


def test_the_outputs_are_those_of_the_contract(defaults: Any) -> None:
    outputs = defaults.outputs(STACK)
    for key in (
        Output.API_URL,
        Output.API_KEY_ID,
        Output.CLASSIFIER_FUNCTION,
        Output.CLASSIFIER_ALIAS,
        Output.FOLDER_STATE_MACHINE,
    ):
        assert outputs[key]
