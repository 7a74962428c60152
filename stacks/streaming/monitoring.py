"""What is watched of the streaming lane."""

from __future__ import annotations

from typing import Final

from aws_cdk import Duration
from aws_cdk import aws_cloudwatch as cloudwatch
from constructs import Construct

from runtime.contract import StreamMetric
from stacks.parts.monitoring import alarm_above, graph

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
            alarm_above(
                self,
                construct_id,
                metric,
                threshold=threshold,
                periods=5,
                meaning=f"streaming: {meaning} for five minutes",
            )
            for construct_id, metric, threshold, meaning in (
                ("LatencyAlarm", latency, 1000, "p99 above a second"),
                ("WaitingAlarm", waiting, 500, "frames pile up"),
                ("BusyAlarm", busy, 0.95, "engines are saturated"),
            )
        ]
        self.alarms.append(
            alarm_above(
                self,
                "BootAlarm",
                cloudwatch.Metric(
                    namespace=StreamMetric.NAMESPACE,
                    metric_name=failed_boots,
                    statistic="Sum",
                    period=Duration.minutes(5),
                ),
                threshold=0,
                periods=1,
                meaning="streaming: an instance did not boot, and its group starts others in vain",
            )
        )
        cloudwatch.Dashboard(
            self,
            "Dashboard",
            dashboard_name=dashboard_name,
            widgets=[
                [
                    graph("Frames a second", frames),
                    graph("Latency p99, worst server (ms)", latency),
                    graph("Frames dropped", dropped),
                ],
                [
                    graph("Batch size", batch),
                    graph("Engine busy share", busy),
                    graph("Frames waiting, fullest server", waiting),
                ],
                *([[graph("GPU busy share", gpus)]] if gpu else []),
            ],
        )
