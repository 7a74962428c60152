"""Where models, packages, results and pictures lie; the other stacks build on this one."""

from __future__ import annotations

from aws_cdk import Aws, CfnOutput, Duration, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_logs as logs
from constructs import Construct

from runtime.contract import PICTURES_PREFIX, TRAINING_PREFIX, Output, StreamMetric
from stacks.parts.acknowledgment import acknowledge
from stacks.parts.function import ExpiringLogGroup
from stacks.parts.instance import BOOT_ENDED
from stacks.settings.model import DeploymentSettings
from stacks.storage.bucket_emptier import BucketEmptier
from stacks.storage.private_bucket import PrivateBucket


def boot_log_group(prefix: str) -> str:
    """Name of the log group that instances write the log of their first boot to."""
    return f"/{prefix}/boot"


def failed_boots(prefix: str) -> str:
    """Name of the metric that has a 1 for each boot that failed."""
    return f"FailedBoots-{prefix}"


class StorageStack(Stack):
    """Buckets: `artifacts` (models, packages, results), `pictures` (short-lived), `logs`."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        settings: DeploymentSettings,
        cors_origin: str | None,
    ) -> None:
        super().__init__(scope, construct_id, description="visionstack: buckets")
        self.logs = PrivateBucket(
            self,
            "Logs",
            retain=settings.retain_data,
            expire_prefixes={"": settings.log_retention_days},
        )
        acknowledge(
            self.logs,
            {"AwsSolutions-S1": "The bucket that access logs go to cannot log its own access."},
        )
        self._let_networks_log()
        # Here, since a stack whose instances do not boot takes its own log groups along.
        boots = ExpiringLogGroup(
            self,
            "Boots",
            days=settings.log_retention_days,
            name=boot_log_group(settings.prefix),
        )
        logs.MetricFilter(
            self,
            "FailedBoots",
            log_group=boots,
            filter_pattern=logs.FilterPattern.literal(f'"{BOOT_ENDED}" -"{BOOT_ENDED} 0"'),
            metric_namespace=StreamMetric.NAMESPACE,
            metric_name=failed_boots(settings.prefix),
        )
        self.artifacts = PrivateBucket(
            self, "Artifacts", retain=settings.retain_data, access_logs=self.logs
        )
        self.pictures = PrivateBucket(
            self,
            "Pictures",
            retain=settings.retain_data,
            expire_prefixes={
                PICTURES_PREFIX: settings.picture_expiry_days,
                # What was kept goes when no more is kept, too.
                TRAINING_PREFIX: settings.keep_for_training_days or 1,
            },
            upload_origin=cors_origin,
            access_logs=self.logs,
        )
        # With retain_data too: taking it out of a deployed stack would have CloudFormation send
        # each of its resources a delete.
        emptier = BucketEmptier(self, "Emptier", log_retention_days=settings.log_retention_days)
        for bucket in (self.artifacts, self.pictures):
            emptier.empties(bucket)
        emptier.empties(self.logs, settle=Duration.seconds(settings.log_settle_seconds))
        CfnOutput(self, Output.ARTIFACTS_BUCKET, value=self.artifacts.bucket_name)
        CfnOutput(self, Output.PICTURES_BUCKET, value=self.pictures.bucket_name)

    def _let_networks_log(self) -> None:
        delivery = iam.ServicePrincipal("delivery.logs.amazonaws.com")
        own_account = {"aws:SourceAccount": Aws.ACCOUNT_ID}
        self.logs.add_to_resource_policy(
            iam.PolicyStatement(
                principals=[delivery],
                actions=["s3:GetBucketAcl"],
                resources=[self.logs.bucket_arn],
                conditions={"StringEquals": own_account},
            )
        )
        self.logs.add_to_resource_policy(
            iam.PolicyStatement(
                principals=[delivery],
                actions=["s3:PutObject"],
                resources=[
                    self.logs.arn_for_objects(f"{prefix}/AWSLogs/{Aws.ACCOUNT_ID}/*")
                    for prefix in ("nlb", "vpc")
                ],
                conditions={
                    "StringEquals": {
                        **own_account,
                        "s3:x-amz-acl": "bucket-owner-full-control",
                    }
                },
            )
        )
