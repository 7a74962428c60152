"""What is watched of the streaming lane."""

from __future__ import annotations

from typing import Final

from aws_cdk import Duration
from aws_cdk import aws_cloudwatch as cloudwatch
from constructs import Construct

from runtime.contract import StreamMetric

_FRESH: Final = Duration.minutes(1)


class StreamMetrics:
    """The metrics that the servers of one group publish, as CloudWatch sees them."""

    def __init__(self, group_name: str) -> None:
        self._dimensions = {StreamMetric.GROUP_DIMENSION: group_name}

    def metric(self, name: str, *, statistic: str = "Average") -> cloudwatch.Metric:
        """One published metric over the whole group, a point a minute."""
        return cloudwatch.Metric(
            namespace=StreamMetric.NAMESPACE,
            metric_name=name,
            dimensions_map=self._dimensions,
            statistic=statistic,
            period=_FRESH,
        )


class StreamMonitoring(Construct):
    """A dashboard of throughput, latency, drops, batches and load; alarms where users suffer.

    `gpu`: whether the servers have one, whose use is shown then. A live stream drops frames by
    design, so that drops raise no alarm. `failed_boots` names a metric of the same namespace.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        metrics: StreamMetrics,
        failed_boots: str,
        dashboard_name: str,
        gpu: bool,
    ) -> None:
        super().__init__(scope, construct_id)
        latency = metrics.metric(StreamMetric.LATENCY_P99_MILLISECONDS, statistic="Maximum")
        dropped = metrics.metric(StreamMetric.FRAMES_DROPPED, statistic="Sum")
        busy = metrics.metric(StreamMetric.ENGINE_BUSY_SHARE)
        waiting = metrics.metric(StreamMetric.FRAMES_WAITING, statistic="Maximum")
        frames = metrics.metric(StreamMetric.FRAMES_PER_SECOND, statistic="Sum")
        batch = metrics.metric(StreamMetric.BATCH_SIZE)
        gpus = metrics.metric(StreamMetric.GPU_BUSY_SHARE)
        self.alarms = [
            self._alarm("LatencyAlarm", latency, 1000, "p99 above a second for five minutes"),
            self._alarm("WaitingAlarm", waiting, 500, "frames pile up for five minutes"),
            self._alarm("BusyAlarm", busy, 0.95, "engines are saturated for five minutes"),
            self._alarm(
                "BootAlarm",
                cloudwatch.Metric(
                    namespace=StreamMetric.NAMESPACE,
                    metric_name=failed_boots,
                    statistic="Sum",
                    period=Duration.minutes(5),
                ),
                0,
                "an instance did not boot, and its group starts others in vain",
                periods=1,
            ),
        ]
        cloudwatch.Dashboard(
            self,
            "Dashboard",
            dashboard_name=dashboard_name,
            widgets=[
                [
                    _graph("Frames a second", frames),
                    _graph("Latency p99, worst server (ms)", latency),
                    _graph("Frames dropped", dropped),
                ],
                [
                    _graph("Batch size", batch),
                    _graph("Engine busy share", busy),
                    _graph("Frames waiting, fullest server", waiting),
                ],
                *([[_graph("GPU busy share", gpus)]] if gpu else []),
            ],
        )

    def _alarm(
        self,
        construct_id: str,
        metric: cloudwatch.Metric,
        threshold: float,
        meaning: str,
        *,
        periods: int = 5,
    ) -> cloudwatch.Alarm:
        return metric.create_alarm(
            self,
            construct_id,
            threshold=threshold,
            evaluation_periods=periods,
            comparison_operator=cloudwatch.ComparisonOperator.GREATER_THAN_THRESHOLD,
            treat_missing_data=cloudwatch.TreatMissingData.NOT_BREACHING,
            alarm_description=f"visionstack streaming: {meaning}",
        )


def _graph(title: str, metric: cloudwatch.Metric) -> cloudwatch.GraphWidget:
    return cloudwatch.GraphWidget(title=title, left=[metric], width=8)
