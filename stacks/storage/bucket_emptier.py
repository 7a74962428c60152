"""Empties marked buckets when their stack ends, so that `cdk destroy` leaves nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from aws_cdk import CustomResource, Duration
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_s3 as s3
from constructs import Construct

from stacks.parts.acknowledgment import acknowledge, objects_finding
from stacks.parts.function import ExpiringLogGroup, FunctionRole

_CODE: Final = Path(__file__).resolve().parents[2] / "runtime" / "emptier"


class BucketEmptier(Construct):
    """One small function for all buckets of a stack.

    CDK's own `auto_delete_objects` does the same with a Node.js function that needs the AWS SDK of
    Lambda's runtime, which the embedded cloud does not have.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        log_retention_days: int,
    ) -> None:
        super().__init__(scope, construct_id)
        logs = ExpiringLogGroup(self, "Logs", days=log_retention_days)
        self._role = FunctionRole(self, "Role", log_group=logs)
        self._function = lambda_.Function(
            self,
            "Function",
            description="visionstack: empties buckets when their stack is destroyed",
            runtime=lambda_.Runtime.PYTHON_3_13,
            handler="handler.handle",
            code=lambda_.Code.from_asset(str(_CODE), exclude=["__pycache__", "__init__.py"]),
            memory_size=256,
            timeout=Duration.minutes(14),
            role=self._role,
            log_group=logs,
        )
        acknowledge(
            self._function,
            {
                "AwsSolutions-L1": "A file of its own, tested on this version.",
                "Serverless-LambdaLatestVersion": "A file of its own, tested on this version.",
                "Serverless-LambdaDLQ": "CloudFormation waits for the answer.",
                "Serverless-LambdaTracing": "It runs when a stack ends, and then once a bucket.",
            },
        )

    def empties(self, bucket: s3.Bucket, *, settle: Duration | None = None) -> None:
        """Empty `bucket` just before it is deleted, if its tag says so by then.

        Nothing may be put into it from then on; it counts as empty when nothing that was still on
        its way has come for the time `settle`.
        """
        self._role.allow(
            [
                "s3:GetBucketPolicy",
                "s3:GetBucketTagging",
                "s3:ListBucketMultipartUploads",
                "s3:ListBucketVersions",
                "s3:PutBucketPolicy",
            ],
            [bucket.bucket_arn],
        )
        self._role.allow(
            ["s3:AbortMultipartUpload", "s3:DeleteObject", "s3:DeleteObjectVersion"],
            [bucket.arn_for_objects("*")],
        )
        acknowledge(
            self._role,
            {objects_finding(bucket, "*", seen_from=self): "It is there to empty the bucket."},
        )
        resource = CustomResource(
            self,
            f"Empty{bucket.node.id}",
            service_token=self._function.function_arn,
            resource_type="Custom::EmptyBucket",
            properties={
                "BucketName": bucket.bucket_name,
                "BucketArn": bucket.bucket_arn,
                "SettleSeconds": str((settle or Duration.seconds(0)).to_seconds()),
            },
        )
        # Deleted in reverse: first this resource (which empties), then rights, policy and bucket.
        resource.node.add_dependency(self._role)
        if bucket.policy is not None:
            resource.node.add_dependency(bucket.policy)
