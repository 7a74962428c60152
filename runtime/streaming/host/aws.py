"""What a deployed server asks of AWS: its token, a place for its fingerprint and its figures."""

from __future__ import annotations

import asyncio
import logging
import socket
import uuid
from collections.abc import Callable, Mapping

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from runtime.contract import STREAM_DRAIN_HOOK, StreamMetric
from runtime.streaming.errors import SettingsError
from runtime.streaming.host.log_shipping import LogShipper

log = logging.getLogger(__name__)

_UNITS: Mapping[str, str] = {
    StreamMetric.FRAMES_PER_SECOND: "Count/Second",
    StreamMetric.LATENCY_P99_MILLISECONDS: "Milliseconds",
    StreamMetric.FRAMES_DROPPED: "Count",
    StreamMetric.FRAMES_WAITING: "Count",
}


def fetch_token(secret: str) -> str:
    """The secret's value. Raises SettingsError when it can't be read or is empty."""
    try:
        answer = boto3.client("secretsmanager").get_secret_value(SecretId=secret)
    except (BotoCoreError, ClientError) as error:
        raise SettingsError(f"The token's secret {secret} cannot be read: {error}") from error
    token = str(answer.get("SecretString", "")).strip()
    if not token:
        raise SettingsError(f"The token's secret {secret} is empty.")
    return token


def publish_fingerprint(parameter: str, fingerprint: str) -> None:
    """Put the certificate's fingerprint where clients look for it. Raises SettingsError."""
    try:
        boto3.client("ssm").put_parameter(
            Name=parameter, Value=fingerprint, Type="String", Overwrite=True
        )
    except (BotoCoreError, ClientError) as error:
        raise SettingsError(
            f"The fingerprint cannot be published to {parameter}: {error}"
        ) from error


def shipper(group: str) -> LogShipper:
    """A log handler with a stream of its own in `group`."""
    config = Config(connect_timeout=2, read_timeout=5, retries={"total_max_attempts": 1})
    stream = f"{socket.gethostname()}-{uuid.uuid4().hex[:8]}"
    return LogShipper(boto3.client("logs", config=config), group=group, stream=stream)


def signal_listening(stack: str, resource: str, instance: str) -> None:
    """Tell a deployment that waits for this instance that its server listens."""
    try:
        boto3.client("cloudformation").signal_resource(
            StackName=stack, LogicalResourceId=resource, UniqueId=instance, Status="SUCCESS"
        )
    except (BotoCoreError, ClientError) as error:
        # So it is for every server that was not started by a deployment.
        log.info("no deployment waits for this server", extra={"reason": str(error)})


def complete_drain(group: str, instance: str) -> None:
    """Tell the Auto Scaling group that the instance may go; without it the hook's time runs out."""
    try:
        boto3.client("autoscaling").complete_lifecycle_action(
            LifecycleHookName=STREAM_DRAIN_HOOK,
            AutoScalingGroupName=group,
            InstanceId=instance,
            LifecycleActionResult="CONTINUE",
        )
    except (BotoCoreError, ClientError) as error:
        log.warning("the drain hook was not completed", extra={"reason": str(error)})


async def publish_metrics(
    figures: Callable[[], Mapping[str, float]], *, group: str, every: float = 60.0
) -> None:
    """Put the figures (by StreamMetric name) to CloudWatch for ever, every so many seconds."""
    client = await asyncio.to_thread(boto3.client, "cloudwatch")
    while True:
        await asyncio.sleep(every)
        data = [
            {
                "MetricName": name,
                "Value": value,
                "Unit": _UNITS.get(name, "None"),
                "Dimensions": [{"Name": StreamMetric.GROUP_DIMENSION, "Value": group}],
            }
            for name, value in figures().items()
        ]
        try:
            await asyncio.to_thread(
                client.put_metric_data, Namespace=StreamMetric.NAMESPACE, MetricData=data
            )
        except (BotoCoreError, ClientError) as error:
            log.warning("metrics were not published", extra={"reason": str(error)})
