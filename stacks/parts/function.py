"""A Lambda function in Python, as all of this project are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

from aws_cdk import Duration, RemovalPolicy, Size
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from constructs import Construct

from stacks.parts.acknowledgment import acknowledge
from stacks.settings.model import DeploymentSettings


class PythonFunction(lambda_.Function):
    """One package, one role, one log group.

    Architecture, Python version, tracing and the time that logs are kept are the deployment's.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        settings: DeploymentSettings,
        description: str,
        package: Path,
        handler: str,
        environment: Mapping[str, str],
        memory_mib: int,
        timeout: Duration,
        storage_mib: int = 512,
        reserved_concurrency: int | None = None,
        snap_start: bool = False,
    ) -> None:
        logs = ExpiringLogGroup(scope, f"{construct_id}Logs", days=settings.log_retention_days)
        self.own_role = FunctionRole(scope, f"{construct_id}Role", log_group=logs)
        super().__init__(
            scope,
            construct_id,
            description=description,
            runtime=_runtime(settings.lambda_python),
            architecture=(
                lambda_.Architecture.ARM_64
                if settings.lambda_arch == "arm64"
                else lambda_.Architecture.X86_64
            ),
            handler=handler,
            code=lambda_.Code.from_asset(str(package)),
            memory_size=memory_mib,
            timeout=timeout,
            ephemeral_storage_size=Size.mebibytes(storage_mib),
            reserved_concurrent_executions=reserved_concurrency,
            tracing=lambda_.Tracing.ACTIVE if settings.xray else lambda_.Tracing.DISABLED,
            snap_start=lambda_.SnapStartConf.ON_PUBLISHED_VERSIONS if snap_start else None,
            role=self.own_role,
            log_group=logs,
            current_version_options=lambda_.VersionOptions(removal_policy=RemovalPolicy.DESTROY),
            environment=dict(environment),
        )
        acknowledge(self, _REASONS)
        if settings.xray:
            acknowledge(
                self.own_role,
                {"AwsSolutions-IAM5[Resource::*]": "X-Ray's actions know no resources."},
            )
        else:
            acknowledge(self, {"Serverless-LambdaTracing": "xray=true switches tracing on."})


_REASONS = {
    "AwsSolutions-L1": "The Python version is the setting lambda_python; wheels are built for it.",
    "Serverless-LambdaLatestVersion": "The Python version is the setting lambda_python.",
    "Serverless-LambdaDLQ": "Nothing that calls this function leaves an event behind: callers wait"
    " for the answer, and a missed wake-up is made up for by the next.",
}


def _runtime(version: str) -> lambda_.Runtime:
    return lambda_.Runtime(
        f"python{version}", lambda_.RuntimeFamily.PYTHON, supports_snap_start=True
    )


# What every function of this project may do: write its own log, and trace when asked to.


class FunctionRole(iam.Role):
    """A role for one function; whatever else it needs is allowed action by action."""

    def __init__(self, scope: Construct, construct_id: str, *, log_group: logs.ILogGroup) -> None:
        super().__init__(
            scope, construct_id, assumed_by=iam.ServicePrincipal("lambda.amazonaws.com")
        )
        self.allow(["logs:CreateLogStream", "logs:PutLogEvents"], [log_group.log_group_arn])

    def allow(self, actions: Sequence[str], resources: Sequence[str]) -> None:
        """Allow `actions` on `resources`."""
        self.add_to_policy(iam.PolicyStatement(actions=list(actions), resources=list(resources)))


# A log group of our own, with a retention and an end.


class ExpiringLogGroup(logs.LogGroup):
    """Keeps entries for `days` (a time that CloudWatch Logs knows) and goes with its stack."""

    def __init__(
        self, scope: Construct, construct_id: str, *, days: int, name: str | None = None
    ) -> None:
        super().__init__(
            scope, construct_id, log_group_name=name, removal_policy=RemovalPolicy.DESTROY
        )
        # The enumeration of the L2 construct names these same numbers in words.
        cast(logs.CfnLogGroup, self.node.default_child).retention_in_days = days
