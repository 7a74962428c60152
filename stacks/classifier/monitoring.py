"""What is watched of the serverless lane."""

from __future__ import annotations

from typing import Final

from aws_cdk import Duration
from aws_cdk import aws_apigateway as apigateway
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from runtime.contract import ClassifierMetric
from stacks.parts.monitoring import alarm_above, graph

_MINUTE: Final = Duration.minutes(1)


class ClassifierMonitoring(Construct):
    """A dashboard of calls, cold starts, times and errors; alarms on errors and throttling."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        function: lambda_.Function,
        api: apigateway.RestApi,
        dashboard_name: str,
    ) -> None:
        super().__init__(scope, construct_id)
        self._function = function
        # With a label the alarm would be one of metric math, which the embedded cloud lacks.
        errors = self._metric(ClassifierMetric.SERVER_ERRORS, "Sum", labelled=False)
        throttles = function.metric_throttles(period=_MINUTE, statistic="Sum")
        gateway = api.metric_server_error(period=_MINUTE, statistic="Sum")
        self.alarms = [
            alarm_above(
                self,
                construct_id,
                metric,
                threshold=threshold,
                periods=3,
                meaning=f"classifier: {meaning} for three minutes",
            )
            for construct_id, metric, threshold, meaning in (
                ("ErrorAlarm", errors, 5, "the classifier fails"),
                ("GatewayAlarm", gateway, 5, "the API answers with 5xx"),
                ("ThrottleAlarm", throttles, 50, "calls find no free environment"),
            )
        ]
        percentiles = ("p50", "p90", "p99")
        cloudwatch.Dashboard(
            self,
            "Dashboard",
            dashboard_name=dashboard_name,
            widgets=[
                [
                    graph(
                        "Calls, cold ones among them",
                        self._metric(ClassifierMetric.CALLS, "Sum"),
                        self._metric(ClassifierMetric.COLD_CALLS, "Sum"),
                    ),
                    graph(
                        "Duration (ms)",
                        *(self._metric(ClassifierMetric.DURATION, share) for share in percentiles),
                    ),
                    graph(
                        "Refused, failed, throttled",
                        self._metric(ClassifierMetric.CLIENT_ERRORS, "Sum"),
                        errors,
                        throttles,
                        gateway,
                    ),
                ],
                [
                    graph(
                        "Where the time goes, p50 (ms)",
                        self._metric(ClassifierMetric.DOWNLOAD, "p50"),
                        self._metric(ClassifierMetric.DECODE, "p50"),
                        self._metric(ClassifierMetric.INFERENCE, "p50"),
                    ),
                    graph(
                        "Initialisation of cold calls (ms)",
                        *(self._metric(ClassifierMetric.INIT, share) for share in percentiles),
                    ),
                    graph("Billed (ms)", self._metric(ClassifierMetric.BILLED, "Sum")),
                ],
            ],
        )

    def _metric(self, name: str, statistic: str, *, labelled: bool = True) -> cloudwatch.Metric:
        return cloudwatch.Metric(
            namespace=ClassifierMetric.NAMESPACE,
            metric_name=name,
            dimensions_map={ClassifierMetric.FUNCTION_DIMENSION: self._function.function_name},
            statistic=statistic,
            period=_MINUTE,
            label=f"{name} {statistic}" if labelled else None,
        )
