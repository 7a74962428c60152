"""What a deployment of both lanes costs while nobody uses it, and what use adds to that."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from visionstack.cost.bill import HOURS_A_MONTH, Bill
from visionstack.cost.instances import Fleet, fleet_bill
from visionstack.cost.prices import PriceBook
from visionstack.cost.serverless import Function, function_bill

SECRETS: Final = 1
DASHBOARDS: Final = 2
ALARMS: Final = 10
"""Eight of the stacks' own, and the two that a target tracking policy makes for itself."""
CUSTOM_METRICS: Final = 9
"""Six that the stream servers publish all the time and three of the warmer."""
GPU_METRICS: Final = 1
DETAILED_METRICS: Final = 7
"""Of an instance with detailed monitoring (CloudWatch pricing, EC2 Detailed Monitoring)."""

WARM: Final = Function(
    memory_mb=3008,
    seconds=0,
    cold_start="warmer",
    environments=6,
    warm_interval_minutes=5,
    wakeup_seconds=0.4,
)
"""The classifier as the settings' defaults keep it warm, without a call."""
USE: Final = {
    "logs.ingested_gb": "log entries, once",
    "logs.gb_month": "log entries, as long as `log_retention_days` keeps them",
    "s3.gb_month": "models, results, pictures and access logs in the buckets",
    "nlb.lcu_hour": "load balancer: a GB an hour of frames makes one unit",
    "gateway.rest": "a call of the classifier's API, beside Lambda's own price",
}
"""Prices that nothing costs until something is used, and what of."""


@dataclass(frozen=True, kw_only=True)
class Standing:
    """Both lanes with the settings' defaults but for the instance type."""

    instance_type: str
    gpu: bool

    def bill(self, book: PriceBook) -> Bill:
        """A month of it, without the account's free tier.

        Raises:
            NoPriceError: the book lacks a price it needs.
        """
        # The rate is never used: there are no requests.
        fleet = Fleet(instance_type=self.instance_type, images_per_second=1)
        metrics = CUSTOM_METRICS + DETAILED_METRICS + (GPU_METRICS if self.gpu else 0)
        counted = (
            book.item("secret", SECRETS, "a month", "secret.month"),
            book.item("CloudWatch metrics", metrics, "a month", "cloudwatch.metric_month"),
            book.item("CloudWatch alarms", ALARMS, "a month", "cloudwatch.alarm_month"),
            book.item("CloudWatch dashboards", DASHBOARDS, "a month", "cloudwatch.dashboard_month"),
        )
        return (
            fleet_bill(fleet, requests_per_day=0, book=book)
            + function_bill(WARM, requests_per_month=0, book=book)
            + Bill(counted)
        )

    def usd_per_hour(self, book: PriceBook) -> float:
        """The same, an hour of a 730-hour month."""
        return self.bill(book).usd / HOURS_A_MONTH
