"""The classifier as a Lambda function, and what is done about its cold starts."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from aws_cdk import Duration, RemovalPolicy, Size
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_s3 as s3
from constructs import Construct

from runtime.contract import (
    MODELS_PREFIX,
    PACKAGES_PREFIX,
    PICTURES_PREFIX,
    RESULTS_PREFIX,
    Env,
)
from stacks.constructs.function_role import FunctionRole
from stacks.constructs.log_group import ExpiringLogGroup
from stacks.constructs.provisioned_schedule import provisioned_schedule
from stacks.constructs.python_runtime import python_runtime
from stacks.settings import DeploymentSettings

_ALIAS: Final = "live"


class ClassifierFunction(Construct):
    """The function, its published version and the alias `live` through which all calls go.

    `cold_start=snapstart` publishes a snapshot, `provisioned` keeps environments at the alias;
    `warmer` and `none` leave the function plain.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        settings: DeploymentSettings,
        package: Path,
        artifacts: s3.IBucket,
        pictures: s3.IBucket,
    ) -> None:
        super().__init__(scope, construct_id)
        logs = ExpiringLogGroup(self, "Logs", days=settings.log_retention_days)
        self.role = FunctionRole(self, "Role", log_group=logs)
        self.role.allow(
            ["s3:GetObject"],
            [
                artifacts.arn_for_objects(f"{prefix}*")
                for prefix in (MODELS_PREFIX, PACKAGES_PREFIX)
            ],
        )
        self.role.allow(["s3:PutObject"], [artifacts.arn_for_objects(f"{RESULTS_PREFIX}*")])
        self.role.allow(
            ["s3:GetObject", "s3:PutObject"], [pictures.arn_for_objects(f"{PICTURES_PREFIX}*")]
        )
        # Without it S3 answers 403 instead of 404 for what does not exist.
        self.role.allow(["s3:ListBucket"], [artifacts.bucket_arn, pictures.bucket_arn])
        self.function = lambda_.Function(
            self,
            "Function",
            description="visionstack: classifies pictures",
            runtime=python_runtime(settings.lambda_python),
            architecture=(
                lambda_.Architecture.ARM_64
                if settings.lambda_arch == "arm64"
                else lambda_.Architecture.X86_64
            ),
            handler="runtime.classifier.handler.handle",
            code=lambda_.Code.from_asset(str(package)),
            memory_size=settings.lambda_memory_mib,
            timeout=Duration.seconds(settings.lambda_timeout_seconds),
            ephemeral_storage_size=Size.mebibytes(settings.lambda_storage_mib),
            reserved_concurrent_executions=settings.reserved_concurrency,
            tracing=lambda_.Tracing.ACTIVE if settings.xray else lambda_.Tracing.DISABLED,
            snap_start=(
                lambda_.SnapStartConf.ON_PUBLISHED_VERSIONS
                if settings.cold_start == "snapstart"
                else None
            ),
            role=self.role,
            log_group=logs,
            current_version_options=lambda_.VersionOptions(removal_policy=RemovalPolicy.DESTROY),
            environment={
                Env.PREFIX: settings.prefix,
                Env.ARTIFACTS_BUCKET: artifacts.bucket_name,
                Env.PICTURES_BUCKET: pictures.bucket_name,
                Env.MODEL: settings.classifier_model,
                Env.ENGINE: settings.classifier_engine,
                Env.LOG_LEVEL: settings.log_level,
                Env.PACKAGING: settings.packaging,
                Env.COLD_START: settings.cold_start,
                Env.UPLOAD_EXPIRES_SECONDS: str(settings.upload_expires_seconds),
            },
        )
        provisioned = settings.cold_start == "provisioned"
        self.alias = lambda_.Alias(
            self,
            "Alias",
            alias_name=_ALIAS,
            version=self.function.current_version,
            provisioned_concurrent_executions=settings.warm_target if provisioned else None,
        )
        if provisioned:
            provisioned_schedule(self.alias, targets=settings.warm_targets())
