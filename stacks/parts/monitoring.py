"""What the lanes' dashboards and alarms have in common, and where alarms are sent (`alarm_email`).

Not cdk-monitoring-constructs (10.3, 8 MB): all that is shown but two metrics (throttles, the API's
errors) are the lanes' own, which it takes one by one as well.
"""

from __future__ import annotations

from collections.abc import Sequence

from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as actions
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sns_subscriptions as subscriptions
from constructs import Construct

from runtime.contract import PROJECT
from stacks.parts.acknowledgment import acknowledge


def alarm_above(
    scope: Construct,
    construct_id: str,
    metric: cloudwatch.Metric,
    *,
    threshold: float,
    periods: int,
    meaning: str,
    missing: cloudwatch.TreatMissingData = cloudwatch.TreatMissingData.NOT_BREACHING,
) -> cloudwatch.Alarm:
    """When the metric was above the threshold for so many of its periods; `meaning` in words."""
    return metric.create_alarm(
        scope,
        construct_id,
        threshold=threshold,
        evaluation_periods=periods,
        comparison_operator=cloudwatch.ComparisonOperator.GREATER_THAN_THRESHOLD,
        treat_missing_data=missing,
        alarm_description=f"{PROJECT} {meaning}",
    )


def graph(title: str, *metrics: cloudwatch.IMetric) -> cloudwatch.GraphWidget:
    """A third of a dashboard's width."""
    return cloudwatch.GraphWidget(title=title, left=list(metrics), width=8)


class AlarmTopic(Construct):
    """A topic with one e-mail address, which has to confirm once, and the alarms that go there."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        email: str,
        alarms: Sequence[cloudwatch.Alarm],
    ) -> None:
        super().__init__(scope, construct_id)
        topic = sns.Topic(self, "Topic", enforce_ssl=True)
        subscription = topic.add_subscription(subscriptions.EmailSubscription(email))
        acknowledge(
            subscription,
            {"Serverless-SNSRedrivePolicy": "A mail that cannot be delivered helps in no queue."},
        )
        for alarm in alarms:
            alarm.add_alarm_action(actions.SnsAction(topic))
            alarm.add_ok_action(actions.SnsAction(topic))
