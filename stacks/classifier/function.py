"""The classifier as a Lambda function, and what is done about its cold starts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from aws_cdk import Duration
from aws_cdk import aws_applicationautoscaling as scaling
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_s3 as s3
from constructs import Construct

from runtime.contract import (
    MODELS_PREFIX,
    PACKAGES_PREFIX,
    PICTURES_PREFIX,
    RESULTS_PREFIX,
    TRAINING_PREFIX,
    Env,
)
from stacks.parts.acknowledgment import acknowledge, objects_finding
from stacks.parts.function import PythonFunction
from stacks.settings.model import DeploymentSettings

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
        cors_origin: str | None,
    ) -> None:
        super().__init__(scope, construct_id)
        self.function = PythonFunction(
            self,
            "Function",
            settings=settings,
            description="visionstack: classifies pictures",
            package=package,
            handler="runtime.classifier.handler.handle",
            memory_mib=settings.lambda_memory_mib,
            timeout=Duration.seconds(settings.timeout_seconds),
            storage_mib=settings.storage_mib,
            reserved_concurrency=settings.reserved_concurrency,
            snap_start=settings.cold_start == "snapstart",
            environment={
                Env.PREFIX: settings.prefix,
                Env.ARTIFACTS_BUCKET: artifacts.bucket_name,
                Env.PICTURES_BUCKET: pictures.bucket_name,
                Env.MODEL: settings.classifier_model,
                Env.ENGINE: settings.classifier_engine,
                Env.LOG_LEVEL: settings.log_level,
                Env.WAIT_FOR_CURRENT_MODEL: str(settings.wait_for_current_model).lower(),
                Env.KEEP_FOR_TRAINING: str(settings.keep_for_training_days > 0).lower(),
                Env.COLD_START: settings.cold_start,
                Env.CORS_ORIGIN: cors_origin or "",
                Env.UPLOAD_EXPIRES_SECONDS: str(settings.upload_expires_seconds),
            },
        )
        self._allow(artifacts, "s3:GetObject", MODELS_PREFIX, "one folder a version of a model")
        self._allow(artifacts, "s3:GetObject", PACKAGES_PREFIX, "one object a package of libraries")
        self._allow(artifacts, "s3:PutObject", RESULTS_PREFIX, "one object a batch of results")
        self._allow(pictures, "s3:GetObject", PICTURES_PREFIX, "one object a picture")
        self._allow(pictures, "s3:PutObject", PICTURES_PREFIX, "one object a picture")
        if settings.keep_for_training_days:
            self._allow(pictures, "s3:PutObject", TRAINING_PREFIX, "one object a kept picture")
        # Without it S3 answers 403 instead of 404 for what does not exist.
        self.function.own_role.allow(["s3:ListBucket"], [artifacts.bucket_arn, pictures.bucket_arn])
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

    def _allow(self, bucket: s3.IBucket, action: str, prefix: str, why: str) -> None:
        keys = f"{prefix}*"
        self.function.own_role.allow([action], [bucket.arn_for_objects(keys)])
        acknowledge(
            self.function.own_role,
            {objects_finding(bucket, keys, seen_from=self): f"{prefix} holds {why}."},
        )


# Provisioned concurrency that follows the hours of the day.


def provisioned_schedule(alias: lambda_.Alias, *, targets: Mapping[str, Any]) -> None:
    """Keep `targets["hours"]` environments during their hours (UTC), else `targets["default"]`.

    Without hours the alias keeps its fixed number and nothing is scheduled.
    """
    default, hours = int(targets["default"]), targets["hours"]
    if not hours:
        return
    scalable = alias.add_auto_scaling(
        min_capacity=min([default, *hours.values()]), max_capacity=max([default, *hours.values()])
    )
    spans = [(*map(int, span.split("-")), count) for span, count in hours.items()]
    starts = {first for first, _, _ in spans}
    for first, last, count in spans:
        _at(scalable, hour=first, count=count)
        # A span that begins where this one ends says what comes next.
        if last % 24 not in starts:
            _at(scalable, hour=last % 24, count=default)


def _at(scalable: lambda_.IScalableFunctionAttribute, *, hour: int, count: int) -> None:
    scalable.scale_on_schedule(
        f"At{hour:02}",
        schedule=scaling.Schedule.cron(hour=str(hour), minute="0"),
        min_capacity=count,
        max_capacity=count,
    )
