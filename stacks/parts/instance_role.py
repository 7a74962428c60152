"""What an instance may do: be managed by SSM, fetch its asset, read models, tell how it goes."""

from __future__ import annotations

from collections.abc import Sequence

from aws_cdk import ArnFormat, Aws, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_logs as logs
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_s3_assets as s3_assets
from constructs import Construct

from runtime.contract import MODELS_PREFIX
from stacks.parts.acknowledgment import acknowledge, objects_finding


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
            self.add_to_policy(
                iam.PolicyStatement(
                    actions=["s3:GetObject"],
                    resources=[asset.bucket.arn_for_objects(asset.s3_object_key)],
                )
            )
        for model in models:
            keys = f"{MODELS_PREFIX}{model}/*"
            self.add_to_policy(
                iam.PolicyStatement(
                    actions=["s3:GetObject"], resources=[artifacts.arn_for_objects(keys)]
                )
            )
            acknowledge(
                self,
                {objects_finding(artifacts, keys, seen_from=self): "All versions of one model."},
            )
        self.add_to_policy(
            iam.PolicyStatement(
                actions=["s3:ListBucket"],
                resources=[artifacts.bucket_arn],
                conditions={"StringLike": {"s3:prefix": [f"{MODELS_PREFIX}*"]}},
            )
        )

    def allow_log(self, log_group: logs.ILogGroup) -> None:
        """Let the instance write streams of its own in a log group."""
        self.add_to_policy(
            iam.PolicyStatement(
                actions=["logs:CreateLogStream", "logs:PutLogEvents"],
                resources=[log_group.log_group_arn],
            )
        )

    def allow_boot_report(self, *, log_group_name: str) -> None:
        """Let the instance say how its boot went, to its stack and in that log group."""
        stack = Stack.of(self)
        self.add_to_policy(
            iam.PolicyStatement(actions=["cloudformation:SignalResource"], resources=[Aws.STACK_ID])
        )
        group = stack.format_arn(
            service="logs",
            resource="log-group",
            resource_name=f"{log_group_name}:*",
            arn_format=ArnFormat.COLON_RESOURCE_NAME,
        )
        self.add_to_policy(
            iam.PolicyStatement(
                actions=["logs:CreateLogStream", "logs:PutLogEvents"], resources=[group]
            )
        )
        acknowledge(
            self,
            {
                "AwsSolutions-IAM5[Resource::arn:<AWS::Partition>:logs:<AWS::Region>:"
                f"<AWS::AccountId>:log-group:{log_group_name}:*]": "One stream an instance."
            },
        )

    def allow_metrics(self, namespace: str) -> None:
        """Let the instance publish metrics in one namespace."""
        self.add_to_policy(
            iam.PolicyStatement(
                actions=["cloudwatch:PutMetricData"],
                resources=["*"],
                conditions={"StringEquals": {"cloudwatch:namespace": namespace}},
            )
        )
        acknowledge(
            self,
            {
                "AwsSolutions-IAM5[Resource::*]": "PutMetricData knows no resources; a condition"
                " holds it to one namespace."
            },
        )

    def allow_on_group(self, actions: Sequence[str], group_name: str) -> None:
        """Allow actions on the instance's own Auto Scaling group, which has this name."""
        self.add_to_policy(
            iam.PolicyStatement(
                actions=list(actions),
                resources=[
                    f"arn:{Aws.PARTITION}:autoscaling:{Aws.REGION}:{Aws.ACCOUNT_ID}"
                    f":autoScalingGroup:*:autoScalingGroupName/{group_name}"
                ],
            )
        )
        acknowledge(
            self,
            {
                "AwsSolutions-IAM5[Resource::arn:<AWS::Partition>:autoscaling:<AWS::Region>:"
                f"<AWS::AccountId>:autoScalingGroup:*:autoScalingGroupName/{group_name}]": "The"
                " star stands for the group's generated id; its name follows."
            },
        )
