"""How a cdk-nag finding is acknowledged: on one resource, by its id, with the reason."""

from __future__ import annotations

from collections.abc import Mapping

from aws_cdk import Acknowledgment, Stack, Validations
from aws_cdk import aws_s3 as s3
from constructs import IConstruct


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
    exported = home.resolve(home.export_value(bucket.bucket_arn))["Fn::ImportValue"]
    return f"AwsSolutions-IAM5[Resource::{exported}/{keys}]"
