"""Where alarms are sent to (setting `alarm_email`)."""

from __future__ import annotations

from collections.abc import Sequence

from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as actions
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sns_subscriptions as subscriptions
from constructs import Construct

from stacks.parts.acknowledgment import acknowledge


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
