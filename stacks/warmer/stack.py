"""The warmer: keeps environments of the classifier from going cold."""

from __future__ import annotations

import json
from typing import Final

from aws_cdk import CfnOutput, Duration, Stack
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from runtime.contract import Env, Output, WarmerMetric
from stacks.packages import PackageArchives
from stacks.parts.acknowledgment import acknowledge
from stacks.parts.function import PythonFunction
from stacks.parts.monitoring import AlarmTopic, alarm_above
from stacks.settings.model import DeploymentSettings

_NEVER_LATER_THAN: Final = Duration.minutes(1)
_WORTHLESS: Final = "A missed wake-up is worthless once the next is due; the alarm counts it."


class WarmerStack(Stack):
    """A function on a schedule, and an alarm on the environments that it does not reach."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        settings: DeploymentSettings,
        archives: PackageArchives,
        warmed: lambda_.IAlias,
    ) -> None:
        super().__init__(scope, construct_id, description="visionstack: warmer")
        function = PythonFunction(
            self,
            "Function",
            settings=settings,
            description="visionstack: keeps classifier environments warm",
            package=archives.archive(settings.warmer_package()),
            handler="runtime.warmer.handler.handle",
            memory_mib=512,
            timeout=Duration.minutes(2),
            environment={
                Env.PREFIX: settings.prefix,
                Env.LOG_LEVEL: settings.log_level,
                Env.WARM_FUNCTION: warmed.function_arn,
                Env.WARM_TARGETS: json.dumps(settings.warm_targets()),
                Env.WARM_SLEEP_MS: str(settings.warm_sleep_ms),
            },
        )
        function.own_role.allow(["lambda:InvokeFunction"], [warmed.function_arn])
        # EventBridge hands a wake-up to Lambda's own queue, which would keep a throttled one for
        # hours and repeat a failed one.
        function.configure_async_invoke(retry_attempts=0, max_event_age=_NEVER_LATER_THAN)
        acknowledge(
            function.node.find_child("EventInvokeConfig"),
            {"Serverless-LambdaAsyncFailureDestination": _WORTHLESS},
        )
        interval = Duration.minutes(settings.warm_interval)
        rule = events.Rule(
            self,
            "Schedule",
            description="visionstack: when environments are woken up",
            schedule=events.Schedule.rate(interval),
            targets=[
                # A wake-up that failed is made up for by the next one, never by a late one.
                targets.LambdaFunction(function, retry_attempts=0, max_event_age=_NEVER_LATER_THAN)
            ],
        )
        acknowledge(
            rule,
            {"Serverless-EventBusDLQ": _WORTHLESS},
        )
        alarm = self._short_alarm(warmed, interval=interval)
        if settings.alarm_email:
            AlarmTopic(self, "Alarms", email=settings.alarm_email, alarms=[alarm])
        CfnOutput(self, Output.WARMER_FUNCTION, value=function.function_name)

    def _short_alarm(self, warmed: lambda_.IAlias, *, interval: Duration) -> cloudwatch.Alarm:
        short = cloudwatch.Metric(
            namespace=WarmerMetric.NAMESPACE,
            metric_name=WarmerMetric.SHORT,
            dimensions_map={WarmerMetric.FUNCTION_DIMENSION: warmed.function_arn},
            statistic="Maximum",
            period=interval,
        )
        return alarm_above(
            self,
            "ShortAlarm",
            short,
            threshold=0,
            periods=3,
            meaning="warmer: reached too few environments three times",
            missing=cloudwatch.TreatMissingData.BREACHING,
        )
