"""How a cdk-nag finding is acknowledged: on one resource, by its id, with the reason."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import cast

from aws_cdk import Acknowledgment, CfnOutput, Stack, Validations
from aws_cdk import aws_s3 as s3
from constructs import Construct, IConstruct


def acknowledge(construct: IConstruct, reasons: Mapping[str, str]) -> None:
    """Acknowledge findings on `construct`; `reasons` maps a finding's id to why it stands."""
    Validations.of(construct).acknowledge(
        *(Acknowledgment(id=finding, reason=reason) for finding, reason in reasons.items())
    )


def objects_finding(bucket: s3.IBucket, keys: str, *, seen_from: IConstruct) -> str:
    """Id of the finding that a policy of `seen_from`'s stack allows all of `keys` in `bucket`."""
    home = Stack.of(bucket)
    if Stack.of(seen_from) is home:
        logical_id = home.resolve(bucket.bucket_arn)["Fn::GetAtt"][0]
        return f"AwsSolutions-IAM5[Resource::<{logical_id}.Arn>/{keys}]"
    read = {
        "StackName": home.stack_name,
        "Region": {"Ref": "AWS::Region"},
        "OutputName": _output_read_by_others(home, bucket.bucket_arn),
    }
    found = json.dumps({"Fn::GetStackOutput": read}, separators=(",", ":"))
    return f"AwsSolutions-IAM5[Resource::{found}/{keys}]"


def _output_read_by_others(home: Stack, value: str) -> str:
    """Key of the output that CDK makes for `value` when other stacks read it.

    The output is made here as CDK makes it, which finds and keeps it then: cdk-nag names it in its
    findings, and there is no call that tells it. Should CDK choose other names, synthesis fails
    with a finding that nobody acknowledged.
    """
    scope = cast(Construct, home.node.try_find_child("Publish") or Construct(home, "Publish"))
    name = "Output" + json.dumps(home.resolve(value), separators=(",", ":"))
    output = scope.node.try_find_child(name) or CfnOutput(scope, name, value=value)
    return str(home.resolve(cast(CfnOutput, output).logical_id))
