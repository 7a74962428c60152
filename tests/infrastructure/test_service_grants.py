"""What AWS's own services do for the templates is allowed by the policies of what they do it to."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

import pytest

from tests.infrastructure.conftest import COMBINATIONS, Templates
from tests.infrastructure.deployed import ACCOUNT, REGION, Deployed
from tests.infrastructure.policy_evaluation import Request, Statement, allowed

Ask = tuple[str, Request]
"""A service's principal and what it asks."""
_TLS: Final = {"aws:SecureTransport": "true", "s3:TlsVersion": "1.2"}


def invocations(deployed: Deployed) -> list[Ask]:
    """Of functions, by rules of EventBridge and by routes of API Gateway."""
    found = []
    for stack, name, properties in deployed.of_type("AWS::Events::Rule"):
        rule = deployed.value(stack, {"Fn::GetAtt": [name, "Arn"]})
        for target in properties["Targets"]:
            function = deployed.value(stack, target["Arn"])
            found.append(("events.amazonaws.com", _invocation(function, source=rule)))
    for stack, _, properties in deployed.of_type("AWS::ApiGateway::Method"):
        if (uri := properties.get("Integration", {}).get("Uri")) is None:
            continue
        function = re.search(r"functions/(.*)/invocations", deployed.value(stack, uri))
        assert function is not None
        resources = deployed.templates.whole_by_id(stack)
        (stage,) = deployed.templates.logical_ids(stack, "AWS::ApiGateway::Stage")
        api = deployed.value(stack, properties["RestApiId"])
        path = resources[properties["ResourceId"]["Ref"]]["Properties"]["PathPart"]
        called = f"arn:aws:execute-api:{REGION}:{ACCOUNT}:{api}"
        ref = deployed.value(stack, {"Ref": stage})
        source = f"{called}/{ref}/{properties['HttpMethod']}/{path}"
        found.append(("apigateway.amazonaws.com", _invocation(function[1], source=source)))
    return found


def deliveries(deployed: Deployed) -> list[Ask]:
    """Of access logs and flow logs to buckets.

    Amazon S3 User Guide, "Permissions for log delivery"; Network Load Balancers, "Access logs";
    Amazon VPC User Guide, "Publish flow logs to Amazon S3".
    """
    found = []
    for stack, name, properties in deployed.of_type("AWS::S3::Bucket"):
        if (logging := properties.get("LoggingConfiguration")) is not None:
            bucket = deployed.value(stack, logging["DestinationBucketName"])
            source = deployed.value(stack, {"Fn::GetAtt": [name, "Arn"]})
            place = f"arn:aws:s3:::{bucket}/{logging['LogFilePrefix']}2026-11-25"
            context = {"aws:SourceAccount": ACCOUNT, "aws:SourceArn": source, **_TLS}
            asked = Request(action="s3:PutObject", resource=place, context=context)
            found.append(("logging.s3.amazonaws.com", asked))
    for stack, _, properties in deployed.of_type("AWS::ElasticLoadBalancingV2::LoadBalancer"):
        given = {one["Key"]: one["Value"] for one in properties["LoadBalancerAttributes"]}
        if given.get("access_logs.s3.enabled") == "true":
            bucket = deployed.value(stack, given["access_logs.s3.bucket"])
            found += _delivered(f"arn:aws:s3:::{bucket}", given["access_logs.s3.prefix"])
    for stack, _, properties in deployed.of_type("AWS::EC2::FlowLog"):
        place = deployed.value(stack, properties["LogDestination"])
        bucket, _, prefix = place.rstrip("/").partition("/")
        found += _delivered(bucket, prefix)
    return found


def permissions(deployed: Deployed) -> list[Statement]:
    """Functions' resource policies (Lambda's API reference, AddPermission)."""
    return [
        Statement.read(
            {
                "Effect": "Allow",
                "Action": given["Action"],
                "Resource": given["FunctionName"],
                "Principal": {"Service": given["Principal"]},
                "Condition": {"ArnLike": {"aws:SourceArn": given["SourceArn"]}},
            }
        )
        for stack, _, properties in deployed.of_type("AWS::Lambda::Permission")
        for given in [deployed.value(stack, properties)]
    ]


every_combination = pytest.mark.parametrize("combination", COMBINATIONS)


@every_combination
def test_functions_may_be_invoked_by_what_is_set_to_invoke_them_and_nothing_else(
    synthesized: Callable[[str], Templates], combination: str
) -> None:
    deployed = Deployed(synthesized(combination))
    asked, grants = invocations(deployed), permissions(deployed)
    assert len(asked) > 3
    assert _denied(asked, grants) == []
    for number in range(len(grants)):
        assert _denied(asked, grants[:number] + grants[number + 1 :]), grants[number]


@every_combination
def test_logs_may_be_delivered_to_the_buckets_that_they_are_sent_to(
    synthesized: Callable[[str], Templates], combination: str
) -> None:
    deployed = Deployed(synthesized(combination))
    asked = deliveries(deployed)
    assert len(asked) > 1
    assert _denied(asked, deployed.bucket_policies()) == []


def test_every_grant_to_log_delivery_is_needed_in_some_combination(
    synthesized: Callable[[str], Templates],
) -> None:
    """The buckets' policies are the same in all of them: networks come and go in other stacks."""
    alike = [name for name, context in COMBINATIONS.items() if "prefix" not in context]
    asked = [one for name in alike for one in deliveries(Deployed(synthesized(name)))]
    statements = Deployed(synthesized(alike[0])).bucket_policies()
    grants = [part for one in statements if one.effect == "Allow" for part in one.grants()]
    assert len(grants) > 3
    for number in range(len(grants)):
        assert _denied(asked, grants[:number] + grants[number + 1 :]), grants[number]


def _invocation(function: str, *, source: str) -> Request:
    context = {"aws:SourceArn": source}
    return Request(action="lambda:InvokeFunction", resource=function, context=context)


def _delivered(bucket: str, prefix: str) -> list[Ask]:
    context = {"aws:SourceAccount": ACCOUNT, **_TLS}
    put = {**context, "s3:x-amz-acl": "bucket-owner-full-control"}
    place = f"{bucket}/{prefix}/AWSLogs/{ACCOUNT}/log.gz"
    return [
        (
            "delivery.logs.amazonaws.com",
            Request(action="s3:GetBucketAcl", resource=bucket, context=context),
        ),
        (
            "delivery.logs.amazonaws.com",
            Request(action="s3:PutObject", resource=place, context=put),
        ),
    ]


def _denied(asked: list[Ask], statements: list[Statement]) -> list[Ask]:
    return [
        (service, request)
        for service, request in asked
        if not allowed(request, identity=[], resource=statements, principal=service)
    ]
