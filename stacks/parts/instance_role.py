"""What an instance may do: be managed by SSM, fetch its asset, read models, tell how it goes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from aws_cdk import ArnFormat, Aws, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_logs as logs
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_s3_assets as s3_assets
from constructs import Construct

from runtime.contract import MODELS_PREFIX
from stacks.parts.acknowledgment import acknowledge, objects_finding

_WRITING_LOGS: Final = ("logs:CreateLogStream", "logs:PutLogEvents")


class InstanceRole(iam.Role):
    """An instance's role. `models` names the models that it may read from `artifacts`."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        artifacts: s3.IBucket,
        assets: Sequence[s3_assets.Asset],
        models: Sequence[str],
    ) -> None:
        super().__init__(
            scope,
            construct_id,
            assumed_by=iam.ServicePrincipal("ec2.amazonaws.com"),
            managed_policies=[
                iam.ManagedPolicy.from_aws_managed_policy_name("AmazonSSMManagedInstanceCore")
            ],
        )
        acknowledge(
            self,
            {
                "AwsSolutions-IAM4[Policy::arn:<AWS::Partition>:iam::aws:policy/"
                "AmazonSSMManagedInstanceCore]": "SSM sessions replace SSH; AWS keeps this policy"
                " to what its agent needs."
            },
        )
        for asset in assets:
            self.allow(["s3:GetObject"], asset.bucket.arn_for_objects(asset.s3_object_key))
        for model in models:
            keys = f"{MODELS_PREFIX}{model}/*"
            self.allow(["s3:GetObject"], artifacts.arn_for_objects(keys))
            acknowledge(
                self,
                {objects_finding(artifacts, keys, seen_from=self): "All versions of one model."},
            )
        below = {"StringLike": {"s3:prefix": [f"{MODELS_PREFIX}*"]}}
        self.allow(["s3:ListBucket"], artifacts.bucket_arn, conditions=below)

    def allow(
        self,
        actions: Sequence[str],
        resource: str,
        *,
        conditions: Mapping[str, Mapping[str, object]] | None = None,
    ) -> None:
        """Allow `actions` on `resource`."""
        self.add_to_policy(
            iam.PolicyStatement(actions=list(actions), resources=[resource], conditions=conditions)
        )

    def allow_log(self, log_group: logs.ILogGroup) -> None:
        """Let the instance write streams of its own in a log group."""
        self.allow(_WRITING_LOGS, log_group.log_group_arn)

    def allow_boot_report(self, *, log_group_name: str) -> None:
        """Let the instance say how its boot went, to its stack and in that log group."""
        stack = Stack.of(self)
        self.allow(["cloudformation:SignalResource"], Aws.STACK_ID)
        group = stack.format_arn(
            service="logs",
            resource="log-group",
            resource_name=f"{log_group_name}:*",
            arn_format=ArnFormat.COLON_RESOURCE_NAME,
        )
        self.allow(_WRITING_LOGS, group)
        acknowledge(
            self,
            {
                "AwsSolutions-IAM5[Resource::arn:<AWS::Partition>:logs:<AWS::Region>:"
                f"<AWS::AccountId>:log-group:{log_group_name}:*]": "One stream an instance."
            },
        )

    def allow_metrics(self, namespace: str) -> None:
        """Let the instance publish metrics in one namespace."""
        own = {"StringEquals": {"cloudwatch:namespace": namespace}}
        self.allow(["cloudwatch:PutMetricData"], "*", conditions=own)
        acknowledge(
            self,
            {
                "AwsSolutions-IAM5[Resource::*]": "PutMetricData knows no resources; a condition"
                " holds it to one namespace."
            },
        )

    def allow_on_group(self, actions: Sequence[str], group_name: str) -> None:
        """Allow actions on the instance's own Auto Scaling group, which has this name."""
        self.allow(
            actions,
            f"arn:{Aws.PARTITION}:autoscaling:{Aws.REGION}:{Aws.ACCOUNT_ID}"
            f":autoScalingGroup:*:autoScalingGroupName/{group_name}",
        )
        acknowledge(
            self,
            {
                "AwsSolutions-IAM5[Resource::arn:<AWS::Partition>:autoscaling:<AWS::Region>:"
                f"<AWS::AccountId>:autoScalingGroup:*:autoScalingGroupName/{group_name}]": "The"
                " star stands for the group's generated id; its name follows."
            },
        )
